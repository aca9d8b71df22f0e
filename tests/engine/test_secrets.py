"""No token, URL, key or password in clear anywhere: not in state, logs, registry, status, processes, nor in any output.

One stack is taken through its whole life. Its files are searched several times on the way, and after its end; the list
of all processes of this machine is looked at all the while, and so are the environments of the stack's own daemons.

What this can't prove: that a secret isn't written somewhere outside of the clone.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from provider import postgres, warehouse
from provider.resource import ResourceError
from receiver import control
from tests.support.secrecy import ProcessWatch, files_below, forms, places_of
from tests.support.stack import CUSTOMERIO, Stack, event, post
from tests.support.waiting import until

SIGNING_KEY = "a-signing-key-that-nobody-may-see"
WRONG_PASSWORD = "a-wr0ng-passw0rd-for-the-warehouse"
SHELLS_PASSWORD = "a-password-of-the-shell-that-up-is-typed-in"
FIRST_TOKEN = "token of primary, at first"
REGISTRY = (".sluice/dev/registry.db", ".sluice/dev/registry.db-wal")
REJECTED = (".sluice/dev/spool.db", ".sluice/dev/postgres/data/")

KEPT: dict[str, tuple[str, ...]] = {
    # Private files hold, by design, what the daemons need to work.
    "warehouse password": (".sluice/dev/postgres.json", *REGISTRY),
    "wrong password": REGISTRY,
    "signing key": REGISTRY,
    # A rejected body is kept as it came, and a stranger has written this token into some.
    FIRST_TOKEN: REJECTED,
}
"""Which secret may be where: the beginnings of places."""


@dataclass
class Life:
    """A stack, the secrets that it had so far, and where one was found that may not be there."""

    stack: Stack
    watch: ProcessWatch
    secrets: dict[str, str] = field(default_factory=dict)
    found: set[tuple[str, str]] = field(default_factory=set)
    statuses: list[str] = field(default_factory=list)

    def texts(self) -> dict[str, bytes]:
        said = {f"output {number}": text.encode() for number, text in enumerate(self.stack.said)}
        told = {f"status {number}": text.encode() for number, text in enumerate(self.statuses)}
        return {**said, **told, **files_below(self.stack.root), **self.watch.texts}

    def learn(self, when: str) -> None:
        """Takes down the secrets that the stack has now."""
        outputs = self.stack.outputs()
        for slot, made in outputs["integrations"]["stitch_customerio"]["slots"].items():
            self.secrets[f"URL of {slot}, {when}"] = made["url"]
            self.secrets[f"token of {slot}, {when}"] = made["url"].rsplit("/", 1)[1]
        self.secrets["warehouse password"] = urllib.parse.urlsplit(outputs["warehouse"]["dsn"]).password or ""

    def search(self) -> None:
        """Looks for every secret that is known by now."""
        with contextlib.suppress(control.ReceiverDown):
            self.statuses.append(json.dumps(control.ask_sync(self.stack.home, "status")))
        texts = self.texts()
        for name, secret in self.secrets.items():
            allowed = KEPT.get(name, ())
            places = [place for place in places_of(secret, texts) if not place.startswith(allowed or ("\0",))]
            self.found |= {(name, place) for place in places}


def strangers_post(url: str) -> int:
    """Whatever a stranger does with the URL must not put it into a log either. Returns how many bodies held a token."""
    token = url.rsplit("/", 1)[1]
    base = url.removesuffix(f"/v1/stitch_customerio/{token}")
    taken = 0
    for path in (
        f"/v1/stitch_customerio/{token}",
        f"/v1/another/{token}",
        f"/{token}",
        f"/v1/stitch_customerio/{token}/more",
        f"/v1/stitch_customerio/{token[:-1]}x",
        f"/v1/stitch_customerio/{token}?again={token}",
    ):
        post(base + path, event("one"))
        taken += post(base + path, b"not JSON " + token.encode()) == 200
        post(base + path, b"", {"Content-Encoding": "gzip"})
    return taken


@pytest.fixture(scope="module")
def life(real_stack: Stack) -> Iterator[Life]:
    """The whole life of a stack, by `pulumi` and by `make`, with trouble in it."""
    stack = real_stack

    def is_daemon(line: str, folder: str) -> bool:
        return str(stack.home) in line or folder.startswith(str(stack.home))

    with ProcessWatch(is_daemon) as watch:
        life = Life(stack, watch)
        life.secrets = {
            "signing key": SIGNING_KEY,
            "wrong password": WRONG_PASSWORD,
            "passphrase": stack.environment["PULUMI_CONFIG_PASSPHRASE"],
            "shell's password": SHELLS_PASSWORD,
        }
        # As after eval "$(make -s env)". What the shell has must not live on in a daemon.
        stack.environment["SLUICE_WAREHOUSE_DSN"] = f"postgresql://sluice:{SHELLS_PASSWORD}@127.0.0.1:1/sluice"
        stack.declare({**CUSTOMERIO, "tokens": {"primary": 1, "secondary": 1}})
        stack.up()
        life.learn("at first")
        rejected = strangers_post(stack.url())
        count = "SELECT count(*) FROM stitch_customerio._sdc_rejected WHERE encode(_sdc_raw, 'escape') LIKE '%slc\\_%'"
        assert rejected > 0
        until(lambda: stack.sql(count) == [(rejected,)], 30, "what a stranger has sent is loaded")
        assert "slc_" not in str(stack.sql("SELECT d::text FROM stitch_customerio.data d"))
        life.search()

        stack.declare({**CUSTOMERIO, "tokens": {"primary": 2, "secondary": 1}, "signed": True})
        key = "sluice:credentials.stitch_customerio.signing_key"
        stack.pulumi("config", "set", "--secret", "--path", key, stdin=SIGNING_KEY, check=True)
        stack.preview()
        assert stack.make("up").code == 0
        life.learn("after the rotation")
        for target in ("send", "status", "logs"):
            assert stack.make(target).code == 0, stack.said[-1]
        stack.refresh()
        life.search()

        with_errors(stack)
        stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}}, destroyData=True)
        stack.up()
        for asked in (("stack", "export"), ("stack", "output", "--json"), ("stack", "history"), ("config",)):
            stack.pulumi(*asked, check=True)
        stack.pulumi("destroy", "--preview-only", "--diff", check=True)
        life.search()
        assert stack.make("down").code == 0
        life.search()
        yield life


def with_errors(stack: Stack) -> None:
    """Leaves error messages: of a warehouse with a wrong password, and of one that is down while events come."""
    dsn = "sluice:warehouseDsn"
    ours = postgres.recorded(stack.home)
    assert ours is not None
    wrong = f"postgresql://sluice:{WRONG_PASSWORD}@127.0.0.1:{ours.port}/sluice"
    stack.pulumi("config", "set", "--secret", dsn, stdin=wrong, check=True)
    failed = stack.make("up")
    assert failed.code != 0
    assert "can't be reached" in failed.text
    stack.pulumi("config", "rm", dsn, check=True)
    postgres.stop(stack.home)
    assert stack.make("send").code == 0, "taken all the same"
    until(lambda: control.ask_sync(stack.home, "status")["warehouse"]["error"] is not None, 30, "the loader notices")
    assert stack.make("status").code != 0
    assert "is down" in stack.said[-1]


def test_no_secret_is_in_clear_anywhere(life: Life) -> None:
    assert not life.found, "\n".join(f"{name} is in {place}" for name, place in sorted(life.found))


def test_the_search_has_seen_what_it_says_it_searches(life: Life) -> None:
    """Else there would be nothing in which to find a secret."""
    assert {"token of primary, at first", "token of secondary, at first", "token of primary, after the rotation"} <= {
        *life.secrets
    }
    assert all(forms(secret) for secret in life.secrets.values())
    assert len({*life.secrets.values()}) == len(life.secrets) - 2  # the secondary's stayed
    files = life.texts()
    assert {".sluice/.pulumi/stacks/sluice/dev.json", ".sluice/dev/receiver.log", ".sluice/dev/loader.log"} <= {*files}
    assert len(life.statuses) == 3
    seen = b"\n".join(life.watch.texts.values())
    for program in (b"pulumi\0up", b"pulumi\0destroy", b"-m\0provider", b"initdb", b"postgres\0-D", b"receiver.loader"):
        assert program in seen, program
    environments = [text for name, text in life.watch.texts.items() if name.startswith("environment")]
    assert len(environments) > 3
    assert any(b"PYTHONPATH=" in text for text in environments)


@pytest.mark.parametrize("dsn", ["postgresql://sluice:{}@127.0.0.1:1/sluice", "host=127.0.0.1 pass word={}"])
def test_a_warehouse_that_is_not_there_or_whose_address_makes_no_sense_is_told_without_its_password(dsn: str) -> None:
    with pytest.raises(ResourceError) as told:
        warehouse.connect(dsn.format(WRONG_PASSWORD))
    assert places_of(WRONG_PASSWORD, {"error": str(told.value).encode()}) == []


def test_what_holds_a_daemons_secrets_is_private(life: Life) -> None:
    names = set()
    for path in life.stack.home.iterdir():
        if path.is_file():
            names.add(path.name)
            assert path.stat().st_mode & 0o077 == 0, path
    assert {"registry.db", "spool.db", "receiver.log"} <= names


@contextlib.contextmanager
def in_a_file(life: Life, name: str, planted: str) -> Iterator[None]:
    path = life.stack.root / name
    before = path.read_bytes()
    path.write_bytes(before + f"2026-01-01 INFO {planted}\n".encode())
    try:
        yield
    finally:
        path.write_bytes(before)


@contextlib.contextmanager
def in_an_output(life: Life, planted: str, say: Callable[[], object]) -> Iterator[None]:
    say()
    assert planted in life.stack.said[-1]
    try:
        yield
    finally:
        life.stack.said.pop()


@contextlib.contextmanager
def in_a_process(life: Life, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives only as long as one look of the watch may take to come."""
    command = [sys.executable, "-c", "import time; time.sleep(30)", *arguments]
    process = subprocess.Popen(command, env={**os.environ, **variables})
    before = set(life.watch.texts)
    try:
        until(lambda: f"command line of {process.pid}" in {*life.watch.texts} - before, 30, "the watch looks")
    finally:
        process.kill()
        process.wait()
    yield process


FORMS: dict[str, Callable[[str], str]] = {
    "in clear": lambda url: url,
    "URL-encoded": lambda url: urllib.parse.quote(url, safe=""),
    "in base64": lambda url: base64.b64encode(url.encode()).decode(),
    "in base64, one character into a text": lambda url: base64.b64encode(f"={url} HTTP/1.1".encode()).decode(),
    "in base64, two characters into a text": lambda url: base64.b64encode(f"> {url}\n".encode()).decode(),
    "in base64 for URLs": lambda url: base64.urlsafe_b64encode(f"POST {url} HTTP/1.1".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_search_finds_a_secret_planted_in_a_log(life: Life, form: str) -> None:
    url = life.secrets["URL of primary, at first"]
    with in_a_file(life, ".sluice/dev/receiver.log", FORMS[form](url)):
        assert places_of(url, life.texts()) == [".sluice/dev/receiver.log"]
    assert places_of(url, life.texts()) == []


def test_the_search_finds_a_secret_planted_in_the_state(life: Life) -> None:
    url, state = life.secrets["URL of primary, at first"], ".sluice/.pulumi/stacks/sluice/dev.json"
    with in_a_file(life, state, f'"{url}"'):
        assert places_of(url, life.texts()) == [state]


def test_the_search_finds_a_secret_planted_in_what_pulumi_prints(life: Life) -> None:
    url, stack = life.secrets["URL of primary, at first"], life.stack
    stack.declare(CUSTOMERIO, publicUrl=url)
    try:
        with in_an_output(life, url, lambda: stack.pulumi("config", "get", "sluice:publicUrl")):
            assert places_of(url, life.texts()) == [f"output {len(stack.said) - 1}", "Pulumi.dev.yaml"]
    finally:
        stack.declare(CUSTOMERIO)


def test_the_search_finds_a_secret_planted_in_what_make_prints(life: Life) -> None:
    url, stack, log = life.secrets["URL of primary, at first"], life.stack, ".sluice/dev/receiver.log"
    with in_a_file(life, log, url), in_an_output(life, url, lambda: stack.make("logs")):
        assert places_of(url, life.texts()) == [f"output {len(stack.said) - 1}", log]


def test_the_search_finds_a_secret_planted_in_a_status(life: Life) -> None:
    url = life.secrets["URL of primary, at first"]
    life.statuses.append(json.dumps({"endpoints": {url: {"live": True}}}))
    try:
        assert places_of(url, life.texts()) == [f"status {len(life.statuses) - 1}"]
    finally:
        life.statuses.pop()


# From here on the watch remembers what was planted: each of these has a secret of its own.


def test_the_search_finds_a_secret_planted_on_a_command_line(life: Life) -> None:
    planted = "planted-on-a-command-line"
    with in_a_process(life, f"--dsn={planted}") as process:
        assert places_of(planted, life.texts()) == [f"command line of {process.pid}"]


def test_the_search_finds_a_secret_planted_in_a_daemons_environment_and_not_in_another_process(life: Life) -> None:
    planted, elsewhere = "planted-in-an-environment", "planted-in-the-environment-of-another"
    with in_a_process(life, "--home", str(life.stack.home), PGPASSWORD=planted) as process:
        assert places_of(planted, life.texts()) == [f"environment of {process.pid}"]
    with in_a_process(life, PGPASSWORD=elsewhere):
        assert places_of(elsewhere, life.texts()) == []


@pytest.mark.parametrize("place", ["output 3", "status 0", ".sluice/dev/postgres.json", ".sluice/dev/spool.db-wal"])
def test_what_may_be_kept_somewhere_may_be_nowhere_else(
    life: Life, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exceptions don't hide anything: each is for one secret in one place."""
    planted = b"\n".join(secret.encode() for secret in life.secrets.values())
    monkeypatch.setattr(Life, "texts", lambda _: {place: planted})
    again = Life(life.stack, life.watch, secrets=life.secrets)
    again.search()
    missed = {*life.secrets} - {name for name, _ in again.found}
    assert missed == {name for name, allowed in KEPT.items() if place.startswith(allowed)}


def test_a_secret_that_is_too_short_to_be_searched_for_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least"):
        forms("short")
