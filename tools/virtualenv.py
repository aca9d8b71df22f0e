"""The project's virtual environment `.venv`: made, and kept in step with the pinned requirements.

Standard library only: it runs before there is an environment.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools import progress

REACHING = frozenset(
    f"PIP_{name}"
    for name in (
        *("INDEX_URL", "EXTRA_INDEX_URL", "NO_INDEX", "FIND_LINKS", "CONFIG_FILE", "KEYRING_PROVIDER", "CACHE_DIR"),
        *("CERT", "CLIENT_CERT", "TRUSTED_HOST", "PROXY", "DEFAULT_TIMEOUT", "TIMEOUT", "RETRIES", "USE_DEPRECATED"),
    )
)
"""pip's settings that stay: where packages come from. Where they go to, and which, is ours to say."""

ASK = """
import importlib.metadata, pathlib, re, sys
for file in sys.argv[1:]:
    for name, version in re.findall(r"^([\\w.-]+)(?:\\[[^]]*\\])?==([^\\s;#]+)", pathlib.Path(file).read_text(), re.M):
        try:
            is_there = importlib.metadata.version(name) == version
        except importlib.metadata.PackageNotFoundError:
            is_there = False
        if not is_there:
            print(f"{name}=={version}")
"""


def ready(root: Path, *, development: bool) -> Path:
    """Brings `.venv` up to date and returns its Python. `development`: with what tests and linters need too.

    Raises progress.StepFailed. Safe to run twice at once: the second waits.
    """
    folder, python = root / ".venv", root / ".venv" / "bin" / "python"
    mark, place = folder / "sluice.json", str(folder.resolve())
    names = ["requirements.txt", "requirements-dev.txt"] if development else ["requirements.txt"]
    wanted = {name: fingerprint(root, name) for name in names}
    if _is_current(mark, wanted):
        return python

    state = root / ".sluice"
    state.mkdir(mode=0o711, exist_ok=True)
    with (state / "venv.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_current(mark, wanted):
            return python
        if not _works(python, folder) or _read(mark).get("place", place) != place:
            # Its scripts hold its absolute path, so an environment that came with a copied or moved folder is redone.
            progress.run(
                "making the virtual environment .venv",
                [sys.executable, "-I", "-m", "venv", "--clear", folder],
                log=state / "venv.log",
                usual="10 s",
                timeout_s=300,
                environment=_of_ours(os.environ),
            )
        progress.run(
            f"installing {names[-1]} into .venv",
            [python, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "-r", root / names[-1]],
            log=state / "pip.log",
            usual="1 to 2 minutes",
            timeout_s=1800,
            environment=_of_ours(os.environ),
        )
        if missing := _missing(python, [root / name for name in names]):
            raise progress.StepFailed(
                f"pip succeeded, and {', '.join(missing)} isn't in .venv: a setting of pip's sends packages elsewhere"
                f" (pip config list shows them; the log is {state / 'pip.log'})"
            )
        # The development requirements include the others.
        installed = wanted if development else _installed(mark) | wanted
        mark.write_text(json.dumps({"place": place, "installed": installed}))
    return python


def _of_ours(outer: Mapping[str, str]) -> dict[str, str]:
    """`outer` without a person's settings of pip and Python, but for those that say how packages are reached."""
    return {
        name: value
        for name, value in outer.items()
        if not name.startswith("PYTHON") and (not name.startswith("PIP_") or name in REACHING)
    }


def _missing(python: Path, requirements: Sequence[Path]) -> list[str]:
    """The pinned packages of these files that the environment doesn't have in that version."""
    asked = subprocess.run(
        [python, "-I", "-c", ASK, *map(str, requirements)],
        env=_of_ours(os.environ),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if asked.returncode != 0:
        raise progress.StepFailed(f"the Python in .venv doesn't run: {asked.stderr.strip()[-500:]}")
    return asked.stdout.split()


def fingerprint(root: Path, name: str) -> str:
    """Changes with a requirements file and with those that it includes."""
    text = (root / name).read_text()
    included = [line.split()[1] for line in text.splitlines() if line.startswith("-r ")]
    parts = [text, *((root / other).read_text() for other in included)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _is_current(mark: Path, wanted: dict[str, str]) -> bool:
    return (
        (mark.parent / "bin" / "python").exists()
        and _read(mark).get("place") == str(mark.parent.resolve())
        and wanted.items() <= _installed(mark).items()
    )


def _installed(mark: Path) -> dict[str, str]:
    found = _read(mark).get("installed", {})
    return found if isinstance(found, dict) else {}


def _read(mark: Path) -> dict[str, Any]:
    try:
        found = json.loads(mark.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _works(python: Path, folder: Path) -> bool:
    try:
        asked = subprocess.run(
            [python, "-c", "import pip, sys; print(sys.prefix)"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and Path(asked.stdout.strip()).resolve() == folder.resolve()
