"""The variables that the engine runs with: for `make`, and printed by `make -s env` for a shell of one's own.

Also where a stack's state is kept: dev's always in this folder, any other's where the team says.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from components.passphrase import DEV_PASSPHRASE
from tools.engine import plugins

DEV = "dev"
BACKEND = "PULUMI_BACKEND_URL"
TEAMS_BACKEND = "SLUICE_BACKEND_URL"
"""What PULUMI_BACKEND_URL was before dev's took its place in a shell: the other stacks are still there."""

STATE = ".sluice"
PASSPHRASE = "PULUMI_CONFIG_PASSPHRASE"  # noqa: S105 (a variable's name)

DIRECT = ("no_proxy", "NO_PROXY")
LOOPBACK = ("127.0.0.1", "localhost", "::1")

EXPORTED = (
    *DIRECT,
    "PATH",
    "VIRTUAL_ENV",
    BACKEND,
    TEAMS_BACKEND,
    "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION",
    "PULUMI_SKIP_UPDATE_CHECK",
    PASSPHRASE,
    "SLUICE_WAREHOUSE_DSN",
)
"""What `make -s env` prints, where it has a value."""


class MissingPassphrase(Exception):
    """The stack's secrets can't be encrypted: there is no passphrase, or only the one that everybody knows."""


def variables(
    root: Path,
    outer: Mapping[str, str],
    *,
    engine: Path | None,
    standins: Sequence[Path] = (),
    backend: str | None = None,
) -> dict[str, str]:
    """`outer` with what the engine needs; the same again when it is given its own result.

    `root`: the project's folder. `engine`: the engine's folder, None where it is on PATH. `standins`: folders of
    executables that stand in for plugins. `backend`: as `backend_of` has it; this folder's own if None.
    """
    own = backend_url(root)
    chosen = backend or own
    set_aside = _named(outer.get(BACKEND))
    scripts = root / ".venv" / "bin"
    first = [str(folder) for folder in (engine, *standins, scripts) if folder is not None]
    path = outer.get("PATH", "").split(os.pathsep)
    rest = [part for part in path if part not in first and not plugins.is_standin(part)]
    return {
        **{name: value for name, value in outer.items() if name != "PYTHONHOME"},
        **_reached_directly(outer),
        "PATH": os.pathsep.join([*first, *rest]),
        # A language host built from Go modules runs the program with the active environment's Python.
        "VIRTUAL_ENV": str(root / ".venv"),
        BACKEND: chosen,
        **({TEAMS_BACKEND: set_aside} if chosen == own and set_aside else {}),
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def _reached_directly(outer: Mapping[str, str]) -> dict[str, str]:
    """Where a proxy is set: engine, program and provider talk to one another over loopback, and never through it.

    Each of their libraries reads other names (gRPC's C core the lower-case ones alone).
    """
    if not any(name.lower() in ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy") for name in outer):
        return {}
    names = [*DIRECT, *(["no_grpc_proxy"] if "no_grpc_proxy" in outer else [])]
    given = {name: outer.get(name) or outer.get(DIRECT[0]) or outer.get(DIRECT[1]) or "" for name in names}
    listed = {name: [host.strip() for host in value.split(",") if host.strip()] for name, value in given.items()}
    return {name: ",".join([*hosts, *(own for own in LOOPBACK if own not in hosts)]) for name, hosts in listed.items()}


def backend_url(root: Path) -> str:
    """The project's own backend: states in `<project>/.sluice/.pulumi`, beside each stack's own folder."""
    return "file://" + quote(str(root / STATE))


def backend_of(stack: str, project: Mapping[str, object], outer: Mapping[str, str]) -> str | None:
    """The backend that the team keeps `stack` in, as a URL of Pulumi's; None for the project's own.

    `stack`: without its organisation. `project`: the content of Pulumi.yaml, whose `backend: url:` comes after the
    environment's, as with Pulumi itself (pulumi/pulumi v3.258.0, pkg/workspace/creds.go, GetCurrentCloudURL). What
    Pulumi asks last, where somebody is logged in, says nothing of this project, and isn't asked.

    Dev is the stack of this machine, with processes and data beside its state: it is nobody else's to see, whatever
    the shell has been told for other projects.
    """
    if stack == DEV:
        return None
    written = project.get("backend")
    url = written.get("url") if isinstance(written, Mapping) else None
    return _named(outer.get(BACKEND)) or _named(outer.get(TEAMS_BACKEND)) or _named(url)


def _named(url: object) -> str | None:
    """`url`, unless it says nothing: one in a `.sluice` is what `make -s env` of this clone, or of another, printed."""
    if not isinstance(url, str) or not url.strip():
        return None
    parts = urlsplit(url.strip())
    is_makes = parts.scheme == "file" and STATE in Path(unquote(parts.path)).parts
    return None if is_makes else url.strip()


def shown(url: str) -> str:
    """A backend's URL for a person to read: without its query and its user, which may hold a key."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], unquote(parts.path), "", ""))


def _keeps_secrets(backend: str | None) -> bool:
    """Whether a backend encrypts by itself, as Pulumi Cloud and those like it do."""
    return backend is not None and urlsplit(backend).scheme in ("https", "http")


def make_backend(root: Path) -> None:
    """Makes the folder of the stacks' states, for its owner alone: dev's passphrase keeps nobody out."""
    state = root / STATE
    state.mkdir(mode=0o711, exist_ok=True)  # PostgreSQL's account, where there is one, passes through to its data
    (state / ".pulumi").mkdir(mode=0o700, exist_ok=True)


def passphrase(
    stack: str, settings: Mapping[str, object], outer: Mapping[str, str], *, backend: str | None = None
) -> str | None:
    """The passphrase to set for `stack`; None where `outer` or another secrets provider has what is needed.

    `settings`: the content of Pulumi.<stack>.yaml. `backend`: as `backend_of` has it. Raises MissingPassphrase.
    """
    provider = settings.get("secretsprovider")
    if provider not in (None, "passphrase") or outer.get(f"{PASSPHRASE}_FILE"):
        return None
    if provider is None and _keeps_secrets(backend) and "encryptionsalt" not in settings:
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
