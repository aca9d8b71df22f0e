"""What a killed `pulumi up` leaves behind in a `file://` backend, and how the next one gets past it.

A lock, that only its own process would have removed; a language host, that would wait for minutes; and operations
noted as pending. A pending create needs no question: it is forgotten, and the next `up` does it again. On this machine
every create can be repeated; on AWS what it would trip over is ended first (`tools.place.Place.forget`).
"""

import contextlib
import json
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from receiver.registry import EndpointEntry, Registry
from tools.endpoints import known_hashes

CLOCK_TOLERANCE_S = 5.0
"""How far a process's start time, worked out from the boot time, may be off."""


def locks(state: Path, project: str, stack: str) -> dict[Path, str | None]:
    """The locks of a stack, and who holds each, in words; None where that is provably nobody any more.

    `state`: the backend's folder, which holds `.pulumi`. A lock is
    `.pulumi/locks/organization/<project>/<stack>/<id>.json` with pid, hostname and timestamp
    (pulumi/pulumi v3.258.0, pkg/backend/diy/lock.go). It is taken before an operation is noted as pending, and removed
    after the last state is written.
    """
    folder = state / ".pulumi" / "locks" / "organization" / project / stack
    return {lock: _holder(lock) for lock in sorted(folder.glob("*.json"))}


def _holder(lock: Path) -> str | None:
    try:
        content = json.loads(lock.read_text())
        pid, host = int(content["pid"]), content["hostname"]
        taken = datetime.fromisoformat(content["timestamp"]).timestamp()
    except FileNotFoundError:
        return None  # its process has just removed it
    except (ValueError, KeyError, TypeError):  # not a lock as we know it, or not written to its end
        return f"somebody whose lock can't be read, {lock}"
    if host != socket.gethostname():
        return f"pid {pid} on {host}"
    try:
        process = psutil.Process(pid)
        # After a reboot the pid may be another process's, which then has started after the lock was taken.
        has_ended = process.status() == psutil.STATUS_ZOMBIE or process.create_time() > taken + CLOCK_TOLERANCE_S
    except psutil.NoSuchProcess:
        return None
    return None if has_ended else f"pid {pid}"


def orphaned_language_hosts(root: Path) -> list[psutil.Process]:
    """The language hosts that run this project's program, `root`, for an engine that is gone.

    One of sdk v3.75.0 looks for its engine only every few minutes.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.name() == "pulumi-language-python" and Path(process.cwd()) == root:
                parent = process.parent()
                if parent is None or parent.name() != "pulumi":
                    found.append(process)
    return found


def pending(state: Path, project: str, stack: str) -> list[str]:
    """What the state file says was under way, such as "creating stitch_customerio-schema"."""
    try:
        checkpoint = json.loads((state / ".pulumi" / "stacks" / project / f"{stack}.json").read_text())
    except (OSError, ValueError):
        return []  # no state yet, or one that Pulumi itself will complain about
    return under_way((checkpoint.get("checkpoint") or {}).get("latest") or {})


def under_way(deployment: Mapping[str, Any]) -> list[str]:
    """As `pending`, of a `deployment` that the engine exported."""
    return [
        f"{operation['type']} {operation['resource']['urn'].rsplit('::', 1)[-1]}"
        for operation in deployment.get("pending_operations") or []
    ]


def half_written(state: Path) -> list[Path]:
    """The attribute files beside Pulumi's state files that were being written when their process was killed.

    The state file itself is put in its place at once; its `.attrs` isn't (gocloud.dev v0.46, blob/fileblob/attrs.go),
    and Pulumi then says no more than "EOF". It does without one that isn't there.
    """
    return [path for path in sorted((state / ".pulumi").rglob("*.attrs")) if not _is_json(path)]


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text())
    except FileNotFoundError:
        return True  # nothing to remove
    except ValueError:
        return False
    return True


def strays(home: Path, resources: Sequence[Mapping[str, Any]]) -> list[EndpointEntry]:
    """The endpoints that the registry has and the state's `resources` haven't: nothing but `revoke` ends them.

    An `up` that was killed had just made them, or the state was lost, edited or replaced by an older one. Noted in the
    registry, so that the status page names them too.
    """
    known = known_hashes(resources)
    with Registry.present(home / "registry.db") as registry:
        if registry is None:
            return []
        endpoints = registry.endpoints()
        found = [endpoint for endpoint in endpoints if endpoint.hash not in known]
        if {endpoint.hash for endpoint in found} != {endpoint.hash for endpoint in endpoints if endpoint.stray}:
            registry.mark_strays([endpoint.hash for endpoint in found])
        return found


def revoke(home: Path, endpoints: Sequence[EndpointEntry]) -> None:
    """Takes them out of the registry: their URLs are answered 401 from then on."""
    with Registry.present(home / "registry.db") as registry:
        if registry is None:
            return
        for endpoint in endpoints:
            registry.remove_endpoint(endpoint.hash)


def without_pending(exported: Mapping[str, Any]) -> dict[str, Any]:
    """A `pulumi stack export` less its pending operations, for `pulumi stack import`."""
    deployment = {key: value for key, value in exported["deployment"].items() if key != "pending_operations"}
    return {**exported, "deployment": deployment}
