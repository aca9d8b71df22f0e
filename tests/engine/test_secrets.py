"""No token, URL or key in clear anywhere: not in state, logs, registry, process list, nor in what any command printed.

What this can't prove: that a secret isn't written somewhere outside of the clone.
"""

import base64
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from stack import CUSTOMERIO, Stack, event, post

SIGNING_KEY = "a-signing-key-that-nobody-may-see"


def forms(secret: str) -> Iterator[bytes]:
    """The secret in clear, URL-encoded, and in base64 at each of the three offsets that it may have in a text."""
    yield secret.encode()
    yield urllib.parse.quote(secret, safe="").encode()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + secret.encode())
        # The first and last characters of base64 also depend on the neighbours.
        yield encoded[4 if offset else 0 : -4]
        yield encoded[4 if offset else 0 : -4].replace(b"+", b"-").replace(b"/", b"_")


def places_of(secret: str, texts: dict[str, bytes]) -> list[str]:
    """The names of the texts that hold the secret in any form."""
    wanted = [form for form in forms(secret) if len(form) > 8]
    return [name for name, text in texts.items() if any(form in text for form in wanted)]


def everything(stack: Stack) -> dict[str, bytes]:
    texts = {f"output {number}": said.encode() for number, said in enumerate(stack.said)}
    for path in stack.root.rglob("*"):
        if path.is_file() and ".venv" not in path.parts:
            texts[str(path.relative_to(stack.root))] = path.read_bytes()
    return texts


def process_list() -> dict[str, bytes]:
    """Command lines, and the environments of the daemons."""
    texts = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                texts[f"process {entry.name}"] = (entry / "cmdline").read_bytes()
            except OSError:
                continue
    return texts


@pytest.fixture(scope="module")
def secrets(stack: Stack) -> dict[str, str]:
    """Takes the stack through its whole life; returns every secret that it ever had, by name."""
    found: dict[str, str] = {"signing key": SIGNING_KEY}

    def note(when: str) -> None:
        for slot, made in stack.outputs()["integrations"]["stitch_customerio"]["slots"].items():
            found[f"{slot} URL {when}"] = made["url"]
            found[f"{slot} token {when}"] = made["url"].rsplit("/", 1)[1]
        dsn = stack.outputs()["warehouse"]["dsn"]
        found["warehouse password"] = urllib.parse.urlsplit(dsn).password or ""
        for number, (name, text) in enumerate(process_list().items()):
            stack.said.append(f"{name} {number}: {text.decode(errors='replace')}")

    stack.declare({**CUSTOMERIO, "tokens": {"primary": 1, "secondary": 1}})
    stack.up()
    note("at first")
    url = stack.url()
    token = url.rsplit("/", 1)[1]
    base = url.removesuffix(f"/v1/stitch_customerio/{token}")
    # Whatever a stranger does with the URL must not put it into a log either.
    for path in (
        f"/v1/stitch_customerio/{token}",
        f"/v1/another/{token}",
        f"/{token}",
        f"/v1/stitch_customerio/{token}/more",
        f"/v1/stitch_customerio/{token[:-1]}x",
        f"/v1/stitch_customerio/{token}?again={token}",
    ):
        for body in (event("one"), b"not JSON " + token.encode(), b""):
            post(base + path, body, {"Content-Encoding": "gzip"} if not body else None)
    stack.declare({**CUSTOMERIO, "tokens": {"primary": 2, "secondary": 1}, "signed": True})
    key = "sluice:credentials.stitch_customerio.signing_key"
    stack.pulumi("config", "set", "--secret", "--path", key, stdin=SIGNING_KEY, check=True)
    stack.preview()
    stack.up()
    note("after the rotation")
    stack.refresh()
    stack.up()
    stack.pulumi("stack", "export", check=True)
    stack.pulumi("stack", "output", "--json", check=True)
    stack.pulumi("stack", "history", check=True)
    stack.destroy()
    return found


def test_no_secret_is_in_clear_anywhere(stack: Stack, secrets: dict[str, str]) -> None:
    texts = everything(stack)
    # Two files hold, by design and with mode 0600, what the daemons need to work.
    kept = {".sluice/dev/postgres.json", ".sluice/dev/registry.db", ".sluice/dev/registry.db-wal"}
    for name, secret in secrets.items():
        found = places_of(secret, texts)
        if name in ("warehouse password", "signing key"):
            found = [place for place in found if place not in kept]
        # A rejected body is kept as it came, token and all, if a stranger writes the token into it.
        found = [
            place for place in found if not place.startswith((".sluice/dev/spool.db", ".sluice/dev/postgres/data"))
        ]
        assert not found, f"{name} is in {found}"


def test_what_holds_a_daemons_secrets_is_private(stack: Stack, secrets: dict[str, str]) -> None:
    for path in stack.home.iterdir():
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path


@pytest.mark.parametrize("name", ["clear", "URL-encoded", "base64", "base64 in a longer text"])
def test_the_search_finds_a_planted_secret(stack: Stack, secrets: dict[str, str], name: str) -> None:
    url = secrets["primary URL at first"]
    planted = {
        "clear": url,
        "URL-encoded": urllib.parse.quote(url, safe=""),
        "base64": base64.b64encode(url.encode()).decode(),
        "base64 in a longer text": base64.b64encode(f"POST {url} HTTP/1.1".encode()).decode(),
    }[name]
    log = stack.home / "receiver.log"
    before = log.read_bytes()
    log.write_bytes(before + f"2026-01-01 INFO {planted}\n".encode())
    try:
        assert places_of(url, everything(stack)) == [".sluice/dev/receiver.log"]
    finally:
        log.write_bytes(before)
