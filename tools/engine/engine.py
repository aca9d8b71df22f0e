"""Finds or gets the engine, in this order: the installed one, the official installer's, one built from Go modules.

The last two are cached, by version, and shared by all clones of an account. Standard library only.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools import progress
from tools.engine import build, installer

MINIMUM = (3, 226, 0)
"""The oldest CLI that is used: before it, `replacement_trigger` fired on unrelated changes (Pulumi's changelog)."""

NOT_INSTALLED = f"no pulumi on PATH: install Pulumi {'.'.join(map(str, MINIMUM))} or newer"

EXECUTABLES = ("pulumi", "pulumi-language-python", "pulumi-language-python-exec")
"""What an engine for Python consists of."""


@dataclass(frozen=True)
class Engine:
    """A usable engine. `folder` goes in front of PATH; None: it is on PATH already."""

    version: str
    folder: Path | None
    origin: str


class NoEngine(Exception):
    """None of the ways to an engine is open; the text says of each why."""


def cache(environment: Mapping[str, str]) -> Path:
    """Where engines are kept: `~/.cache/sluice/engine`, or below XDG_CACHE_HOME."""
    base = environment.get("XDG_CACHE_HOME") or str(Path(environment.get("HOME") or Path.home()) / ".cache")
    return Path(base) / "sluice" / "engine"


def get(environment: Mapping[str, str]) -> Engine:
    """The engine to use; downloads or builds one if there is none. Raises NoEngine."""
    kept = cache(environment)
    found = installed(environment)
    if isinstance(found, Engine):
        return found
    if found != NOT_INSTALLED:
        progress.say(f"{found}; using an engine of Sluice's own")
    if engine := cached(kept):
        return engine
    refusals = [found]
    with _alone(kept):
        if engine := cached(kept):  # another clone got it while this one waited
            return engine
        for get_into in (installer.get, build.get):
            try:
                get_into(kept, environment)
            except (installer.CannotInstall, build.CannotBuild) as error:
                progress.say(f"  {error}".splitlines()[0])
                refusals.append(str(error))
            if engine := cached(kept):
                return engine
    raise NoEngine(
        "no Pulumi engine, and no way to get one. Any one of these three is enough:\n"
        + "\n".join(f"  {number}. {refusal}" for number, refusal in enumerate(refusals, start=1))
    )


def cached(kept: Path) -> Engine | None:
    """An engine that was downloaded or built before, of the pinned version."""
    for folder, origin in (
        (kept / installer.folder_name(), "the official installer"),
        (kept / build.folder_name(), "built from Go modules"),
    ):
        if all(os.access(folder / name, os.X_OK) for name in EXECUTABLES):
            return Engine(build.cli_version(), folder, origin)
    return None


def installed(environment: Mapping[str, str]) -> Engine | str:
    """The user's own engine, or why it can't be used."""
    path = _without(environment.get("PATH", ""), cache(environment))
    cli = shutil.which("pulumi", path=path)
    if cli is None:
        return NOT_INSTALLED
    version = version_of(cli, environment)
    if version is None:
        return f"{cli} doesn't tell its version: install Pulumi {_text(MINIMUM)} or newer"
    if version < MINIMUM:
        return f"{cli} is {_text(version)}: Sluice needs Pulumi {_text(MINIMUM)} or newer"
    beside = os.path.realpath(cli)
    if not shutil.which("pulumi-language-python", path=os.pathsep.join([str(Path(beside).parent), path])):
        return f"{cli} has no pulumi-language-python beside it: install Pulumi's Python language host as well"
    return Engine(f"v{_text(version)}", None, cli)


def version_of(cli: str, environment: Mapping[str, str]) -> tuple[int, int, int] | None:
    """What `pulumi version` says, as numbers."""
    try:
        asked = subprocess.run(
            [cli, "version"],
            env={**environment, "PULUMI_SKIP_UPDATE_CHECK": "true"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)", asked.stdout.strip())
    return (int(match[1]), int(match[2]), int(match[3])) if match and asked.returncode == 0 else None


def _text(version: tuple[int, int, int]) -> str:
    return ".".join(str(part) for part in version)


def _without(path: str, kept: Path) -> str:
    """PATH less our own cache, which `make -s env` puts there: an engine of an earlier pin is not an installed one."""
    return os.pathsep.join(part for part in path.split(os.pathsep) if not Path(part).is_relative_to(kept))


@contextlib.contextmanager
def _alone(kept: Path) -> Iterator[None]:
    """One clone at a time: two that build at once would each take twice as long."""
    kept.mkdir(parents=True, exist_ok=True)
    with (kept / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress.say("another make is getting the engine; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
