"""The variables that the engine runs with: for `make`, and printed by `make -s env` for a shell of one's own."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from components.passphrase import DEV_PASSPHRASE
from tools.engine.plugins import STANDINS

DEV = "dev"
PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 (a variable's name)

EXPORTED = (
    "PATH",
    "VIRTUAL_ENV",
    "PULUMI_BACKEND_URL",
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION",
    "PULUMI_SKIP_UPDATE_CHECK",
    PASSPHRASE,
    "SLUICE_WAREHOUSE_DSN",
)
"""What `make -s env` prints, where it has a value."""


class MissingPassphrase(Exception):
    """The stack's secrets can't be encrypted: there is no passphrase, or only the one that everybody knows."""


def variables(
    root: Path, outer: Mapping[str, str], *, engine: Path | None, standins: Sequence[Path] = ()
) -> dict[str, str]:
    """`outer` with what the engine needs; the same again when it is given its own result.

    `root`: the project's folder. `engine`: the engine's folder, None where it is on PATH. `standins`: folders of
    executables that stand in for plugins.
    """
    scripts = root / ".venv" / "bin"
    first = [str(folder) for folder in (engine, *standins, scripts) if folder is not None]
    known_standins = {str(folder) for folder in STANDINS.values()}
    rest = [
        part for part in outer.get("PATH", "").split(os.pathsep) if part not in first and part not in known_standins
    ]
    return {
        **{name: value for name, value in outer.items() if name != "PYTHONHOME"},
        "PATH": os.pathsep.join([*first, *rest]),
        # A language host built from Go modules runs the program with the active environment's Python.
        "VIRTUAL_ENV": str(root / ".venv"),
        "PULUMI_BACKEND_URL": backend_url(root),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def backend_url(root: Path) -> str:
    """Where the stacks' states are kept: `<project>/.sluice/.pulumi`, beside each stack's own folder."""
    return "file://" + quote(str(root / ".sluice"))


def make_backend(root: Path) -> None:
    """Makes the folder of the stacks' states, for its owner alone: dev's passphrase keeps nobody out."""
    state = root / ".sluice"
    state.mkdir(mode=0o711, exist_ok=True)  # PostgreSQL's account, where there is one, passes through to its data
    (state / ".pulumi").mkdir(mode=0o700, exist_ok=True)


def passphrase(stack: str, settings: Mapping[str, object], outer: Mapping[str, str]) -> str | None:
    """The passphrase to set for `stack`; None where `outer` or another secrets provider has what is needed.

    `settings`: the content of Pulumi.<stack>.yaml. Raises MissingPassphrase.
    """
    provider = settings.get("secretsprovider")
    if provider not in (None, "passphrase") or outer.get(f"{PASSPHRASE}_FILE"):
        return None
    given = outer.get(PASSPHRASE)
    if stack == DEV:
        return DEV_PASSPHRASE if given is None else None
    if not given:
        raise MissingPassphrase(
            f"a missing passphrase: stack {stack} needs one of its own in {PASSPHRASE} (or {PASSPHRASE}_FILE);"
            f" only {DEV} has a default"
        )
    if given == DEV_PASSPHRASE:
        raise MissingPassphrase(
            f"a missing passphrase: {PASSPHRASE} holds the {DEV} stack's default, which everybody knows;"
            f" stack {stack} needs one of its own"
        )
    return None


def export_lines(values: Mapping[str, str]) -> str:
    """Lines for `eval` in any POSIX shell."""
    return "\n".join(f"export {name}={shlex.quote(values[name])}" for name in EXPORTED if values.get(name) is not None)
