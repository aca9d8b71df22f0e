"""A headless browser, driven over its DevTools protocol: pages as people see them, at any width, light and dark."""

import asyncio
import base64
import contextlib
import itertools
import json
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    *("--remote-debugging-port=0", "about:blank"),
)
PATIENCE_S = 60.0


class Page:
    """The one tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.said: list[str] = []
        """What the browser itself logged, violations of a content policy among it."""

    async def do(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            told = json.loads((await self._socket.receive(PATIENCE_S)).data)
            if told.get("method") == "Log.entryAdded":
                self.said.append(told["params"]["entry"]["text"])
            if told.get("id") == number:
                assert "error" not in told, (method, told)
                result: dict[str, Any] = told["result"]
                return result

    async def look_at(self, url: str, *, width: int = 1200, height: int = 900, scheme: str = "light") -> None:
        """Opens `url` and waits until it is there."""
        is_phone = width < 600
        await self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if is_phone else 1, mobile=is_phone,
        )  # fmt: skip
        await self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        await self.do("Log.enable")
        await self.do("Page.navigate", url=url)
        give_up = time.monotonic() + PATIENCE_S
        while await self.js("document.readyState + location.href") != f"complete{url}":
            assert time.monotonic() < give_up, await self.js("document.readyState + location.href")
            await asyncio.sleep(0.05)

    async def js(self, expression: str) -> Any:
        """The value of an expression in the page, which no content policy of the page's holds up."""
        told = await self.do("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return told["result"].get("value")

    async def screenshot(self) -> bytes:
        """All of the page, however long, as PNG."""
        size = (await self.do("Page.getLayoutMetrics"))["cssContentSize"]
        whole = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        told = await self.do("Page.captureScreenshot", captureBeyondViewport=True, clip=whole)
        return base64.b64decode(told["data"])


@contextlib.asynccontextmanager
async def opened(program: Path, profile: Path) -> AsyncIterator[Page]:
    """A browser of its own, with an empty profile in the folder `profile`."""
    told = profile / "DevToolsActivePort"
    told.unlink(missing_ok=True)
    process = subprocess.Popen(  # noqa: ASYNC220 (it returns at once)
        [program, f"--user-data-dir={profile}", *FLAGS], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        give_up = time.monotonic() + PATIENCE_S
        while not (told.exists() and told.read_text().count("\n") == 1):
            assert process.poll() is None, f"the browser ended with {process.returncode}"
            assert time.monotonic() < give_up, "the browser doesn't start"
            await asyncio.sleep(0.05)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as listed:
                (tab,) = [each for each in await listed.json(content_type=None) if each["type"] == "page"]
            async with session.ws_connect(tab["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)
