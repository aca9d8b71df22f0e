"""No token, path or body in anything that the receiver writes, whatever happens to a delivery."""

import base64
import html
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from receiver.control import ask_sync
from tests.receiver import admin, running
from tests.receiver.running import new_token, register, set_setting, start, token_of
from tests.support.postgres import free_port

BODY = "an ordinary person's letter"


def told(home: Path, receiver: running.Running) -> bytes:
    """All that a receiver wrote, but the spool and the registry themselves."""
    said = receiver.output()
    for file in home.iterdir():
        if not file.name.startswith("spool.db"):
            said += file.read_bytes()
    return said


def leaks(text: bytes, *secrets: str) -> list[str]:
    """Which of `secrets` occur in `text`, plain, quoted or in base64."""
    found = []
    for secret in secrets:
        aligned = [base64.b64encode(b" " * shift + secret.encode())[4:-4] for shift in range(3)]
        if any(form in text for form in [secret.encode(), quote(secret).encode(), *aligned]):
            found.append(secret)
    return found


@pytest.mark.parametrize("server", [None, "raising"])
def test_nothing_tells_a_token_or_a_body(home: Path, server: str | None) -> None:
    path, signed, wrong = register(home), register(home, signed=True, keys=("signing-secret",)), f"/v1/x/{new_token()}"
    admin_port = free_port()
    set_setting(home, "admin_port", admin_port)
    with running.ended(start(home, server=server)) as receiver:
        for where in (path, signed, wrong, path + "/more", path[:-1]):
            for method in ("POST", "GET"):
                receiver.request(method, where, f'{{"event_id": "{BODY}"}}', x_cio_signature="0" * 64)
            receiver.post(where, BODY)
            receiver.post(where, BODY, content_encoding=f"gzip {BODY}")
        good = receiver.post(path, f'{{"event_id": "{BODY}"}}').status
        assert good == (503 if server else 200)
        status = ask_sync(home, "status")
        seen = [admin.get(admin_port, where) for where in ("/", "/metrics", "/ready", "/health", path)]
        shown = html.unescape(" ".join(repr(reply) for reply in seen))
        receiver.stop()
        text = told(home, receiver) + repr(status).encode() + shown.encode()
    lines = [json.loads(line) for line in receiver.log().splitlines()]
    events = {line["event"] for line in lines}
    assert "refused a delivery" in events
    if server:
        assert any((line.get("error"), line.get("at", "")[:13]) == ("ValueError", "Raising.store") for line in lines)
    else:
        assert "rejected a delivery" in events
        assert "Content-Encoding isn't known" in shown
        assert b"Content-Encoding isn't known" in b"".join(file.read_bytes() for file in home.glob("history.db*"))
    tokens = [token_of(where) for where in (path, signed, wrong)]
    assert leaks(text, BODY, *tokens) == []
    assert leaks(text.replace((home / "registry.db").read_bytes(), b""), "signing-secret") == []


def test_the_search_finds_what_is_there() -> None:
    """The control: a planted token is found, in each form."""
    printed = new_token()
    for form in (printed.encode(), base64.b64encode(b"{" + printed.encode() + b"}"), quote(printed).encode()):
        assert leaks(b"... " + form + b" ...", printed, new_token()) == [printed]
