"""A receiver with a day behind it, for somebody to look at: its status page, on a port of its own.

`python -m tests.browser.scene FILE.png` makes the picture in the documentation. Receiver, loader and warehouse are
real, and so are the samples that were just posted: they are in the last minute, loaded or rejected. What came before
them is drawn, as nobody waits for a day: the bars, the numbers that sum them up, and the URLs' age.
"""

import asyncio
import contextlib
import math
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from receiver.admin.history import Bar, History, _add
from receiver.registry import EndpointEntry, SchemaEntry
from receiver.token import digest
from tests.browser.chromium import opened
from tests.receiver import running
from tests.receiver.running import ROOT, new_token
from tests.receiver.scene import Scene
from tests.support.postgres import free_port, running_server
from tests.support.waiting import until
from tools import browser

HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">" + "x" * 150
INTEGRATIONS = {"stitch_customerio": "Stitch Customer.io", "billing_events": "Billing Events"}


@contextlib.contextmanager
def looked_at(scene: Scene, *reasons: str) -> Iterator[int]:
    """The port of the status page; `reasons`: why deliveries were rejected an hour ago, beside what samples give."""
    port = free_port()
    scene.registry.set_setting("admin_port", str(port))
    paths: list[str] = []
    for schema, name in INTEGRATIONS.items():
        scene.schema(schema)
        scene.registry.put_schema(SchemaEntry(schema, name, "customerio", "upsert"))
        for slot in ("primary", "secondary")[: 1 + (not paths)]:
            token = new_token()
            version = 3 if slot == "primary" else 1
            scene.registry.put_endpoint(EndpointEntry(digest(token), schema, slot, "customerio", False, (), version))
            paths.append(f"/v1/{schema}/{token}")
    _draw(scene, reasons)
    made = "UPDATE endpoints SET created_at = '2026-08-02T09:00:00Z' WHERE slot = 'primary'"
    scene.registry._connection.execute(made)
    with running.ended(running.start(scene.home)) as receiver:
        for file in sorted((ROOT / "samples").glob("customerio_*.jsonl")):
            for body in file.read_bytes().splitlines():
                receiver.post(paths[0], body)
        receiver.post(paths[0], b"[]")
        receiver.post(paths[0], b'{"event_id": "e"}', content_encoding="br")
        receiver.post(paths[2], b'{"event_id": "1"}')
        until(lambda: not scene.spool.schemas_waiting(), 30)
        time.sleep(1.1)
        yield port


def _draw(scene: Scene, reasons: tuple[str, ...]) -> None:
    """A day of deliveries that nobody sent, in the charts and in the spool's counters."""
    now, chance = time.time(), random.Random(5)
    with closing(History(scene.home)) as history:
        history.reject({("stitch_customerio", reason): 3 for reason in reasons}, now - 3600)
        history.past(now)
        assert history._connection
        for number, schema in enumerate(INTEGRATIONS):
            total = bad = 0
            for minute in range(1, 24 * 60):
                wave = 1.2 + math.sin((now / 60 - minute) / 1440 * math.tau)
                taken = int(wave * chance.gammavariate(4, 9) / (1 + 6 * number))
                rejected = int(chance.random() < 0.002) * min(taken, 6)
                total, bad = total + taken, bad + rejected
                _add(history._connection, schema, now - minute * 60, Bar(taken, rejected))
            counts = (schema, total, total - bad, bad, int((now - 60) * 1e6))
            scene.spool._connection.execute("INSERT INTO counters VALUES (?1, ?2, ?3, ?4, 0, ?5)", counts)
            if bad:
                history._connection.execute(
                    "INSERT INTO reasons VALUES (?, 'no event_id (a string that isn''t empty)', ?, ?, ?)",
                    (schema, now // 3600, bad, now - 4000),
                )
        history.count(scene.spool.counts(), now)


def program() -> Path | None:
    return browser.found(os.environ)


async def _picture(port: int, chromium: Path, folder: Path) -> bytes:
    async with opened(chromium, folder) as page:
        await page.look_at(f"http://127.0.0.1:{port}/", width=1000, height=400)
        return await page.screenshot()


def main(picture: Path) -> None:
    chromium = program()
    assert chromium, "there is no browser"
    with running_server() as server, tempfile.TemporaryDirectory() as folder, server.database() as dsn:
        home = Path(folder) / "dev"
        home.mkdir()
        with closing(Scene(home, dsn)) as scene, looked_at(scene) as port:
            picture.write_bytes(asyncio.run(_picture(port, chromium, Path(folder) / "browser")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
