"""A Pulumi stack of this project, as `make` works with it: through the engine's own commands.

Its state is in this folder's own backend, whose files and locks are looked at here, or in a team's, which only the
engine is asked about: somebody else may be at work there.
"""

import contextlib
import fcntl
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tools import environment, interrupted, progress
from tools.environment import DEV

NOT_FOUND = 6
"""Pulumi's exit code where there is no such stack (v3.258.0, pkg/cmd/pulumi/cmd/exit_codes.go)."""


_QUOTED = re.compile(r"'[^']{5,}'|\"[^\"]{5,}\"")


class StackError(Exception):
    """Something about the stack that the person has to know or do; the text is all of it."""


class NoSuchStack(StackError):
    """The engine knows no stack of that name."""


def short(name: str) -> str:
    """The stack's own name in one that may say whose it is: `prod` of `acme/prod` and of `acme/sluice/prod`."""
    return name.rpartition("/")[2]


def settings(root: Path, name: str) -> dict[str, Any]:
    """The content of Pulumi.<name>.yaml; {} where there is none."""
    return _yaml(root / f"Pulumi.{short(name)}.yaml")


def project(root: Path) -> dict[str, Any]:
    """The content of Pulumi.yaml."""
    return _yaml(root / "Pulumi.yaml")


def platform(root: Path, name: str) -> str:
    """The platform that the stack's config names: `local` or `aws`."""
    return str(config(root, name).get("platform", "local"))


def config(root: Path, name: str) -> dict[str, Any]:
    """The `sluice:` config in Pulumi.<name>.yaml, by key without its namespace."""
    found = settings(root, name).get("config")
    items = found.items() if isinstance(found, dict) else ()
    return {str(key).removeprefix("sluice:"): value for key, value in items if str(key).startswith("sluice:")}


def pulumi(*arguments: str) -> list[str]:
    """The command line of one of the engine's commands."""
    return ["pulumi", *arguments]


class Stack:
    """One stack. `environment`: as `tools.environment.variables` makes it, with the passphrase.

    `reference`: the name as it was given, which may say whose the stack is; `name`: without that.
    """

    def __init__(self, root: Path, reference: str, variables: Mapping[str, str]) -> None:
        self.root = root
        self.reference = reference
        self.name = short(reference)
        self.environment = dict(variables)
        self.project = str(project(root).get("name", ""))
        self.state = root / environment.STATE
        self.home = self.state / self.name
        self._is_known = False

    @property
    def team_backend(self) -> str | None:
        """The URL of the backend that holds the state, where it isn't this folder's own."""
        backend = self.environment.get(environment.BACKEND)
        return None if backend in (None, environment.backend_url(self.root)) else backend

    def exists(self) -> bool:
        """Whether the stack was made before; it may hold nothing. Raises StackError where a backend can't be asked."""
        if self.team_backend is None:
            return self._own_state.exists()
        if not self._is_known:
            try:
                self.ask("stack", "--show-name", "--stack", self.reference)
            except NoSuchStack:
                return False
            self._is_known = True
        return True

    @property
    def _own_state(self) -> Path:
        return self.state / ".pulumi" / "stacks" / self.project / f"{self.name}.json"

    def missing(self) -> StackError:
        """What to do about a stack that isn't there."""
        if self.team_backend is None:
            return StackError(f"there is no stack {self.name} yet: run make up{self.option}")
        said = f"there is no stack {self.reference} in {environment.shown(self.team_backend)}"
        if self._own_state.exists():
            return StackError(
                f"{said}, but there is one in {environment.STATE}/ of this folder. To go on with that one, unset"
                f" {environment.BACKEND} and {environment.TEAMS_BACKEND}; to move it to the team, see docs/aws.md"
            )
        return StackError(
            f'{said}. A team\'s stack is made once, by hand: eval "$(make -s env{self.option})", then'
            f" pulumi stack init {self.reference}, with --secrets-provider if its secrets are to be under a key"
        )

    def select(self, *, create: bool = False) -> None:
        """Makes it the one that a plain `pulumi up` in this folder works on.

        `create`: where there is none, makes one in this folder's own backend. Never in a team's: a wrong URL would
        begin a second, empty stack, and build everything again. Raises StackError for a stack that isn't there.
        """
        if self.team_backend is not None and not self.exists():
            raise self.missing()
        own = self.team_backend is None
        self.ask("stack", "select", "--stack", self.reference, *(["--create"] if create and own else []))

    def mend(self) -> None:
        """Makes this folder's own states readable again after a kill in the middle of a write."""
        for path in interrupted.half_written(self.state) if self.busy() is None else ():
            path.unlink(missing_ok=True)

    @property
    def option(self) -> str:
        """How a `make` command names this stack; nothing for the one that it means by itself."""
        return "" if self.reference == DEV else f" STACK={self.reference}"

    def busy(self) -> str | None:
        """Who is at work on the stack right now, such as "pid 4711"; None for nobody, and in a team's backend."""
        if self.team_backend is not None:
            return None
        held = interrupted.locks(self.state, self.project, self.name).values()
        return next((holder for holder in held if holder), None)

    def pending(self) -> list[str]:
        """What the state says was under way when an `up` was cut off, or is right now in a team's backend."""
        if self.team_backend is None:
            return interrupted.pending(self.state, self.project, self.name)
        return interrupted.under_way(self.exported().get("deployment") or {}) if self.exists() else []

    def exported(self) -> dict[str, Any]:
        """The state, as the engine exports it, secrets encrypted."""
        found = json.loads(self.ask("stack", "export", "--stack", self.reference))
        return found if isinstance(found, dict) else {}

    def recover(self, forget: Callable[[Mapping[str, Any]], list[str]]) -> None:
        """Clears what a killed `up` left: its lock, its language host, and operations that never ended.

        Only what is provably dead: raises StackError, and touches nothing, while another `pulumi` works on the stack.
        `forget` ends what it had just made and nobody would know of, and says what (`tools.place.Place`).

        In a team's backend a lock, and what is pending, may be those of a colleague's `up` that runs right now:
        nothing is cleared there. Raises StackError where something is pending.
        """
        for orphan in interrupted.orphaned_language_hosts(self.root):
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.terminate()
        if self.team_backend is not None:
            if operations := self.pending():
                raise StackError(
                    f"an `up` of {self.reference} was interrupted, or still runs somewhere: {', '.join(operations)}\n"
                    f'If none runs: eval "$(make -s env{self.option})", then'
                    f" pulumi refresh --clear-pending-creates --stack {self.reference}; docs/aws.md says what may be"
                    " left over"
                )
            return
        with self._alone():
            self._recover(forget)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While inside, no other `make` clears anything of this folder's stacks."""
        with (self.state / "recover.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _recover(self, forget: Callable[[Mapping[str, Any]], list[str]]) -> None:
        before, exported = self._own_state_read(), None
        if self.pending():
            exported = self.exported()
        # Asked after the state was read: whoever had anything pending in it then would hold the lock now, or have
        # written another state since.
        if who := self.busy():
            raise StackError(
                f"another pulumi is at work on stack {self.name} ({who}), and nothing was touched: run this again when"
                " it has ended. If that can't be, `pulumi cancel` removes its lock"
            )
        if self._own_state_read() != before:
            self._recover(forget)
            return
        for lock, who in interrupted.locks(self.state, self.project, self.name).items():
            if who is None:
                progress.say("removing the lock of a pulumi that was killed")
                lock.unlink(missing_ok=True)
        if exported is None:
            return
        progress.say(f"clearing what was interrupted: {', '.join(interrupted.under_way(exported['deployment']))}")
        for ended in forget(exported):
            progress.say(ended)
        self.ask("stack", "import", "--stack", self.reference, given=json.dumps(interrupted.without_pending(exported)))

    def _own_state_read(self) -> bytes:
        try:
            return self._own_state.read_bytes()
        except FileNotFoundError:
            return b""

    def run(self, command: str, *arguments: str) -> int:
        """Runs `pulumi <command>` on the stack in front of the person; returns its exit code."""
        process = subprocess.Popen(
            pulumi(command, "--stack", self.reference, *arguments), cwd=self.root, env=self.environment
        )
        # Ctrl-C reaches the engine too, which then ends in order; this process has to wait for it.
        before = signal.signal(signal.SIGINT, lambda *_: None)
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGINT, before)

    def ask(self, *arguments: str, given: str | None = None) -> str:
        """The stdout of a `pulumi` command that needs nobody. Raises StackError with what it said on stderr."""
        asked = subprocess.run(
            pulumi(*arguments, "--non-interactive"),
            cwd=self.root,
            env=self.environment,
            input=given if given is not None else "",
            capture_output=True,
            text=True,
        )
        if asked.returncode != 0:
            said = asked.stderr.strip() or asked.stdout.strip()
            if "incorrect passphrase" in said:
                said = (
                    f"stack {self.name}: its secrets were encrypted with another passphrase than the one in"
                    " PULUMI_CONFIG_PASSPHRASE"
                )
            said = said[said.find("error: ") + len("error: ") :] if "error: " in said else said
            # Engines of before had one exit code for all.
            is_missing = asked.returncode == NOT_FOUND or said.startswith(f"no stack named '{self.reference}'")
            raise (NoSuchStack if is_missing else StackError)(said)
        return asked.stdout

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in clear: never print them whole. {} before the first `up`."""
        if not self.exists():
            return {}
        found = json.loads(self.ask("stack", "output", "--stack", self.reference, "--json", "--show-secrets"))
        return found if isinstance(found, dict) else {}

    def resources(self) -> list[dict[str, Any]]:
        """The resources in the state, secrets encrypted; one with `delete: true` still waits to be deleted."""
        if not self.exists():
            return []
        return list((self.exported().get("deployment") or {}).get("resources") or [])

    def failed(self) -> str | None:
        """The kind of the last operation on the stack, such as `update`, if it failed."""
        history = json.loads(self.ask("stack", "history", "--stack", self.reference, "--json", "--page-size", "1"))
        return str(history[0]["kind"]) if history and history[0].get("result") == "failed" else None

    def credential(self, schema: str, name: str) -> str | None:
        """A secret of `sluice:credentials`, by schema name."""
        try:
            path = f"sluice:credentials.{schema}.{name}"
            return self.ask("config", "get", "--stack", self.reference, "--path", path).rstrip("\n")
        except StackError as error:
            if "not found" in str(error):
                return None
            raise


def is_interactive() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty()


def _yaml(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        # Its own text quotes the line, and names what it stumbles over: a secret may stand there.
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it has characters that none may have"
        raise StackError(f"{file.name} is not YAML{where}: {_QUOTED.sub('…', problem)}") from None
    return found if isinstance(found, dict) else {}
