"""A Pulumi stack of this project, as `make` works with it: through the engine's own commands."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tools import interrupted, progress
from tools.environment import DEV


class StackError(Exception):
    """Something about the stack that the person has to know or do; the text is all of it."""


def settings(root: Path, name: str) -> dict[str, Any]:
    """The content of Pulumi.<name>.yaml; {} where there is none."""
    return _yaml(root / f"Pulumi.{name}.yaml")


def platform(root: Path, name: str) -> str:
    """The platform that the stack's config names: `local` or `aws`."""
    return str(config(root, name).get("platform", "local"))


def config(root: Path, name: str) -> dict[str, Any]:
    """The `sluice:` config in Pulumi.<name>.yaml, by key without its namespace."""
    found = settings(root, name).get("config")
    items = found.items() if isinstance(found, dict) else ()
    return {str(key).removeprefix("sluice:"): value for key, value in items if str(key).startswith("sluice:")}


class Stack:
    """One stack. `environment`: as `tools.environment.variables` makes it, with the passphrase."""

    def __init__(self, root: Path, name: str, environment: Mapping[str, str]) -> None:
        self.root = root
        self.name = name
        self.environment = dict(environment)
        self.project = str(_yaml(root / "Pulumi.yaml").get("name", ""))
        self.state = root / ".sluice"
        self.home = self.state / name

    def exists(self) -> bool:
        """Whether the stack was made before; it may hold nothing."""
        return (self.state / ".pulumi" / "stacks" / self.project / f"{self.name}.json").exists()

    def select(self, *, create: bool = False) -> None:
        """Makes it the one that a plain `pulumi up` in this folder works on."""
        self.ask("stack", "select", "--stack", self.name, *(["--create"] if create else []))

    def mend(self) -> None:
        """Makes the state readable again after a kill in the middle of a write."""
        for path in interrupted.half_written(self.state):
            path.unlink(missing_ok=True)

    @property
    def option(self) -> str:
        """How a `make` command names this stack; nothing for the one that it means by itself."""
        return "" if self.name == DEV else f" STACK={self.name}"

    def recover(self, forget: Callable[[Mapping[str, Any]], list[str]]) -> None:
        """Clears what a killed `up` left: its lock, its language host, and operations that never ended.

        `forget` ends what it had just made and nobody would know of, and says what (`tools.place.Place`).
        """
        for orphan in interrupted.orphaned_language_hosts(self.root):
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.terminate()
        for lock in interrupted.stale_locks(self.state, self.project, self.name):
            progress.say("removing the lock of a pulumi that was killed")
            lock.unlink(missing_ok=True)
        operations = interrupted.pending(self.state, self.project, self.name)
        if operations:
            progress.say(f"clearing what was interrupted: {', '.join(operations)}")
            exported = json.loads(self.ask("stack", "export", "--stack", self.name))
            for ended in forget(exported):
                progress.say(ended)
            self.ask("stack", "import", "--stack", self.name, given=json.dumps(interrupted.without_pending(exported)))

    def run(self, command: str, *arguments: str) -> int:
        """Runs `pulumi <command>` on the stack in front of the person; returns its exit code."""
        process = subprocess.Popen(
            ["pulumi", command, "--stack", self.name, *arguments], cwd=self.root, env=self.environment
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
            ["pulumi", *arguments, "--non-interactive"],
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
            raise StackError(said[said.find("error: ") + len("error: ") :] if "error: " in said else said)
        return asked.stdout

    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets in clear: never print them whole. {} before the first `up`."""
        if not self.exists():
            return {}
        found = json.loads(self.ask("stack", "output", "--stack", self.name, "--json", "--show-secrets"))
        return found if isinstance(found, dict) else {}

    def resources(self) -> list[dict[str, Any]]:
        """The resources in the state, secrets encrypted; one with `delete: true` still waits to be deleted."""
        if not self.exists():
            return []
        exported = json.loads(self.ask("stack", "export", "--stack", self.name))
        return list(exported.get("deployment", {}).get("resources") or [])

    def failed(self) -> str | None:
        """The kind of the last operation on the stack, such as `update`, if it failed."""
        history = json.loads(self.ask("stack", "history", "--stack", self.name, "--json", "--page-size", "1"))
        return str(history[0]["kind"]) if history and history[0].get("result") == "failed" else None

    def credential(self, schema: str, name: str) -> str | None:
        """A secret of `sluice:credentials`, by schema name."""
        try:
            path = f"sluice:credentials.{schema}.{name}"
            return self.ask("config", "get", "--stack", self.name, "--path", path).rstrip("\n")
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
        raise StackError(f"{file.name} is not YAML: {' '.join(str(error).split())}") from None
    return found if isinstance(found, dict) else {}
