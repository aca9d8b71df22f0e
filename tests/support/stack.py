"""A clone of the project with a stack of its own, driven by the real engine.

Usually the program and the provider are in the test process (attached.py), which costs a quarter. A *real* clone starts
everything as a user's `pulumi` does.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import yaml

from provider import daemons, postgres
from tests.support.attached import Providers, attached
from tests.support.postgres import free_port, initdb_from_template
from tools import interrupted

PROJECT = Path(__file__).resolve().parent.parent.parent
NOT_CLONED = shutil.ignore_patterns(".*", "__pycache__", "tests", "bench", "Pulumi.dev.yaml")
PATIENCE_S = 180

CUSTOMERIO: dict[str, Any] = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 1}}


@dataclass
class Ran:
    """What a command printed (both streams, as a person sees them) and its exit code."""

    text: str
    code: int


@dataclass
class Step:
    """One thing that the engine did: `op` such as create-replacement, `urn`, and the paths that changed."""

    op: str
    urn: str
    changed: list[str]

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[1]

    @property
    def type(self) -> str:
        return self.urn.split("::")[-2].split("$")[-1]


@dataclass
class Stack:
    """The stack `dev` of a clone in `root`. `said` holds everything that its commands ever printed."""

    root: Path
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    said: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    language_host: str | None = None
    """The address of the one in the test process, where it is attached."""
    _outputs: dict[str, Any] | None = None
    _seen_up: tuple[Any, int] | None = None

    @classmethod
    def clone(cls, root: Path, environment: Mapping[str, str]) -> "Stack":
        """Copies the project's sources to `root`, which uses this project's virtual environment."""
        shutil.copytree(PROJECT, root, ignore=NOT_CLONED)
        (root / ".venv").symlink_to(PROJECT / ".venv")
        state = root / ".sluice"
        state.mkdir()
        own = {"PULUMI_DEBUG_COMMANDS": "true"}  # for --event-log, which tells what the engine did, in order
        own |= {"PULUMI_BACKEND_URL": f"file://{state}", "PULUMI_CONFIG_PASSPHRASE": "a test's passphrase"}
        own |= {"SLUICE_BACKEND_URL": ""}  # a developer's team has one, and no test is to find it
        stack = cls(root, {**environment, **own})
        stack.pulumi("stack", "init", "dev", check=True)
        return stack

    @property
    def home(self) -> Path:
        return self.root / ".sluice" / "dev"

    def declare(self, *integrations: Mapping[str, Any], **config: Any) -> None:
        """Writes the stack's config file: the integrations, and `sluice:` keys by name. Secrets in it stay."""
        path = self.root / "Pulumi.dev.yaml"
        before = yaml.safe_load(path.read_text()) if path.exists() else {}
        secrets = {key: value for key, value in before.get("config", {}).items() if "secure" in json.dumps(value)}
        self.config = {
            "platform": "local",
            "port": self.port,
            "adminPort": 0,
            "integrations": list(integrations),
            **config,
        }
        values = {f"sluice:{name}": value for name, value in self.config.items()}
        path.write_text(yaml.safe_dump({**before, "config": {**secrets, **values}}))

    def command(self, *arguments: str) -> list[str]:
        """The command line of a `pulumi` of this stack."""
        return ["pulumi", *arguments, *self.where_the_program_is(arguments[0]), "--non-interactive"]

    def where_the_program_is(self, command: str) -> list[str]:
        """The option with which a `pulumi up` or `preview` runs the program of the test process."""
        runs_it = self.language_host is not None and command in ("up", "preview")
        return [f"--client={self.language_host}"] if runs_it else []

    def pulumi(self, *arguments: str, check: bool = False, stdin: str | None = None) -> Ran:
        self._outputs = None
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        ran = Ran(done.stdout + done.stderr, done.returncode)
        self.said.append(ran.text)
        assert not check or ran.code == 0, ran.text
        return ran

    def up(self, *flags: str) -> list[Step]:
        """`pulumi up`, which must succeed; returns what the engine did, in the order in which it was finished."""
        steps = self._run("up", "--yes", "--skip-preview", *flags)
        self._seen_up = self._seen()
        return steps

    def bring_up(self, *integrations: Mapping[str, Any], **config: Any) -> None:
        """What a test of a shared stack begins from, whatever the one before left: declared so, and up.

        Nothing is run where the last `up` did just that, and all runs still.
        """
        self.declare(*integrations, **config)
        if self._seen_up is None or self._seen_up != self._seen() or "stopped" in daemons.states(self.home).values():
            self.up()

    def _seen(self) -> tuple[Any, int] | None:
        """The config file, and when the state was last written; None where that is a backend's of another place."""
        config = self.root / "Pulumi.dev.yaml"
        if not (config.exists() and self._state.exists()):
            return None
        return yaml.safe_load(config.read_text()), self._state.stat().st_mtime_ns

    def preview(self, *flags: str) -> list[Step]:
        return self._run("preview", "--diff", *flags)

    def refresh(self) -> list[Step]:
        return self._run("refresh", "--yes", "--skip-preview")

    def destroy(self) -> list[Step]:
        return self._run("destroy", "--yes", "--skip-preview")

    def _run(self, command: str, *flags: str) -> list[Step]:
        log = self.root / "events.json"
        log.unlink(missing_ok=True)
        self.pulumi(command, *flags, "--event-log", str(log), check=True)
        steps = []
        finished = "resourcePreEvent" if command == "preview" else "resOutputsEvent"
        for line in log.read_text().splitlines():
            event = json.loads(line)
            if finished in event:
                metadata = event[finished]["metadata"]
                changed = sorted(metadata.get("detailedDiff") or metadata.get("diffs") or [])
                steps.append(Step(metadata["op"], metadata["urn"], changed))
        return [step for step in steps if step.op != "same" and not step.type.startswith("pulumi:")]

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs with their secrets; not kept in `said`, since showing them was asked for.

        Asked for once after each command.
        """
        if self._outputs is not None:
            return self._outputs
        done = subprocess.run(
            ["pulumi", "stack", "output", "--json", "--show-secrets"],
            cwd=self.root, env=self.environment, capture_output=True, text=True, check=True, timeout=PATIENCE_S,
        )  # fmt: skip
        self._outputs = json.loads(done.stdout)
        assert self._outputs is not None
        return self._outputs

    def url(self, schema: str = "stitch_customerio", slot: str = "primary") -> str:
        return str(self.outputs()["integrations"][schema]["slots"][slot]["url"])

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        server = postgres.recorded(self.home)
        assert server is not None
        with psycopg.connect(server.dsn, connect_timeout=10) as connection:
            return connection.execute(query.encode()).fetchall()

    def sql_execute(self, statements: str) -> None:
        server = postgres.recorded(self.home)
        assert server is not None
        with psycopg.connect(server.dsn, connect_timeout=10) as connection:
            connection.execute(statements.encode())

    def make(self, target: str, **variables: str) -> Ran:
        """`make target` in the clone, as a user runs it, on this stack's own backend and passphrase."""
        self._outputs = None
        words = [f"{name}={value}" for name, value in variables.items()]
        done = subprocess.run(
            ["make", target, *words], cwd=self.root, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        ran = Ran(done.stdout + done.stderr, done.returncode)
        self.said.append(ran.text)
        return ran

    def state_file(self) -> str:
        return self._state.read_text()

    @property
    def _state(self) -> Path:
        return self.root / ".sluice/.pulumi/stacks/sluice/dev.json"


@contextmanager
def attach(stack: Stack, more: Providers | None = None) -> Iterator[Stack]:
    """While inside, the stack's program and provider are in this process, and those in `more` as well."""
    before = stack.environment
    with attached(stack.root, before, more) as (stack.language_host, providers):
        stack.environment = {**before, "PULUMI_DEBUG_PROVIDERS": providers}
        try:
            yield stack
        finally:
            stack.environment, stack.language_host = before, None


@contextmanager
def real_clone() -> Iterator[Stack]:
    """A fresh clone with an empty stack; its daemons are gone at the end, and so must be every other process of it."""
    with tempfile.TemporaryDirectory(prefix="sluice test ") as folder:  # with a space, as a user's path may have
        os.chmod(folder, 0o755)  # noqa: PTH101, S103 - PostgreSQL's account must pass when we are root
        made = Stack.clone(Path(folder) / "a clone", os.environ)
        try:
            yield made
        finally:
            daemons.stop_all(made.home)
            deadline = time.monotonic() + 10  # an engine's helpers take a moment to follow it
            while (left := processes_of(made.root)) and time.monotonic() < deadline:
                for host in interrupted.orphaned_language_hosts(made.root):  # as the next `make` would
                    with suppress(psutil.NoSuchProcess):
                        host.terminate()
                time.sleep(0.1)
        assert not left, left


@contextmanager
def temporary_clone() -> Iterator[Stack]:
    """As `real_clone`, with program and provider in the test process, and a PostgreSQL from the session's template."""
    with initdb_from_template(), real_clone() as made, attach(made):
        yield made


def post(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> int:
    """The status of a POST; 0 when the connection was refused or reset."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json", **(headers or {})})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def event(event_id: str, **more: Any) -> bytes:
    """One delivery as Customer.io posts it."""
    body = {"event_id": event_id, "object_type": "email", "metric": "sent", "timestamp": 1790000000, "data": {}}
    return json.dumps({**body, **more}).encode()


def processes_of(root: Path) -> list[str]:
    """The command lines of the processes that belong to the clone, by argument or by working folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line, folder = " ".join(process.info["cmdline"] or []), process.info["cwd"] or ""
        if process.pid != os.getpid() and (str(root) in line or folder.startswith(str(root))):
            found.append(line)
    return found
