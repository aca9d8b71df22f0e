"""The receiver as a resource, and its process: started, handed over to new code, stopped.

Whether it runs is asked of itself, over its control socket. Starting a second one is how code is changed: the new
process takes the listening socket over from the old one, so that no connection is refused.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from provider import processes
from provider.resource import Context, Properties, Resource, ResourceError
from provider.warehouse import connect, is_another
from receiver import code, control
from receiver.admin.address import AdminAddress
from receiver.registry import Registry

ROOT = Path(__file__).resolve().parent.parent  # where `receiver` is imported from
START_PATIENCE_S = 30.0
STOP_PATIENCE_S = 30.0


def answers(home: Path) -> dict[str, Any] | None:
    """What the stack's running receiver says of itself: pid, code, port. None when none runs."""
    try:
        return control.ask_sync(home, "ping")
    except control.ReceiverDown:
        return None


def recorded(home: Path) -> dict[str, Any] | None:
    """Where the stack's receiver last ran: host, port, pid. None when it never did."""
    try:
        record: dict[str, Any] = json.loads((home / "receiver.json").read_text())
        return record
    except FileNotFoundError:
        return None


def start(home: Path, host: str, port: int) -> None:
    """Starts a receiver, which takes over from a running one. Returns when the new one answers.

    Raises ResourceError with the process's own last line when it doesn't, such as a taken port.
    """
    home.mkdir(parents=True, exist_ok=True)
    log = home / "receiver.log"
    before = log.stat().st_size if log.exists() else 0
    process = processes.spawn(
        [sys.executable, "-m", "receiver", "--home", str(home), "--host", host, "--port", str(port)],
        log=log,
        cwd=ROOT,
        environment=_environment(),
    )
    deadline = time.monotonic() + START_PATIENCE_S
    while time.monotonic() < deadline:
        running = answers(home)
        if running is not None and running["pid"] == process.pid:
            return
        if process.poll() is not None:
            said = log.read_bytes()[before:].decode(errors="replace").strip().splitlines()
            raise ResourceError(f"the receiver didn't start: {said[-1] if said else f'see {log}'}")
        time.sleep(0.05)
    process.kill()
    raise ResourceError(f"the receiver didn't answer within {START_PATIENCE_S:.0f} s (its log is {log})")


@contextmanager
def loading(home: Path) -> Iterator[None]:
    """While inside, a loader moves spooled rows: the running receiver's, or, of a stopped one, a loader alone."""
    if answers(home) is not None:
        yield
        return
    command = [sys.executable, "-m", "receiver.loader", "--home", str(home), "--parent", str(os.getpid())]
    loader = processes.spawn(command, log=home / "loader.log", cwd=ROOT, environment=_environment())
    try:
        yield
    finally:
        loader.terminate()
        loader.wait(STOP_PATIENCE_S)


def _environment() -> dict[str, str]:
    """Ours without what only the engine needs: its passphrase must not live on in a daemon, nor a password for psql."""
    others = ("PULUMI_", "SLUICE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, "PYTHONPATH": str(ROOT)}


def stop(home: Path) -> bool:
    """Stops the receiver and its loader; what is in flight is answered first. False when it wasn't running."""
    facts = answers(home) or recorded(home)  # as recorded where it hangs, or where its socket was cleaned away
    process = facts and processes.find(facts["pid"], facts["start_time"])
    if not process:
        return False
    processes.end(process, patience_s=STOP_PATIENCE_S)
    return True


class Receiver(Resource):
    """The process that answers the deliveries.

    Inputs: host, port, adminHost, adminPort, publicUrl, warehouseDsn (secret), spoolMaxBytes, keepFreeBytes, and code
    (a digest, by check).
    Outputs: url, the base of every endpoint's URL; running.
    """

    token = "sluice:index:Receiver"  # noqa: S105
    secrets: ClassVar = frozenset({"warehouseDsn"})
    outputs: ClassVar = frozenset({"url", "running"})

    async def check(self, context: Context, inputs: Properties) -> Properties:
        return {**inputs, "code": code.digest()}

    async def remark(self, context: Context, state: Properties, inputs: Properties) -> None:
        if _is_open(inputs) and not _is_open(state):
            message = (
                f"the status page at {inputs['adminHost']} has no password: it tells others than this machine which"
                " integrations there are, how many events they had and what was wrong with some"
            )
            await context.say(message, True)

    async def drift(self, context: Context, state: Properties) -> set[str]:
        running = await asyncio.to_thread(answers, context.home)
        alive = running is not None and running["port"] == state.get("port")
        configured = await asyncio.to_thread(_configured, context.home)
        lost = {name for name in configured if configured[name] != state.get(name)}
        return lost if alive else {*lost, "running"}

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        await self.remark(context, {}, inputs)
        return "receiver", await self.update(context, {}, inputs)

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        if state.get("warehouseDsn") not in (None, inputs["warehouseDsn"]):
            # A mistake in it must not take the warehouse that there is away from the loader.
            await asyncio.to_thread(lambda: connect(inputs["warehouseDsn"]).close())
        left = await asyncio.to_thread(_configure, context.home, inputs)
        if left and state.get("warehouseDsn") == inputs["warehouseDsn"]:  # an `up` before this one was to make them
            message = f"the loader stays at the warehouse before: not made in the new one are {', '.join(left)}"
            await context.say(message, True)
        await asyncio.to_thread(_run, context.home, inputs)
        return {**inputs, "url": _url(inputs), "running": True}

    def foresee(self, state: Properties, inputs: Properties) -> Properties:
        return {"url": _url(inputs), "running": True}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        running = await asyncio.to_thread(answers, context.home)
        return {**state, **await asyncio.to_thread(_configured, context.home), "running": running is not None}

    async def delete(self, context: Context, state: Properties) -> None:
        await asyncio.to_thread(stop, context.home)


_SETTINGS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "adminHost": ("admin_host", str),
    "adminPort": ("admin_port", int),
    "warehouseDsn": ("warehouse_dsn", str),
    "spoolMaxBytes": ("spool_max_bytes", int),
    "keepFreeBytes": ("keep_free_bytes", int),
}
"""What the registry holds of the inputs: its name there, and how it is read back."""


def _is_open(properties: Properties) -> bool:
    """Whether others than this machine may reach the status page."""
    host, port = properties.get("adminHost"), properties.get("adminPort")
    return bool(host and port) and AdminAddress(str(host), 1).is_open


def _configure(home: Path, inputs: Properties) -> list[str]:
    """Writes the settings. Returns the schemas that another warehouse lacks: with the last the loader moves there."""
    home.mkdir(parents=True, exist_ok=True)
    left: list[str] = []
    with Registry(home / "registry.db") as registry:
        for name, (setting, _) in _SETTINGS.items():
            before, value = registry.setting(setting), str(inputs[name])
            if setting == "warehouse_dsn" and before and _is_move(registry, before, value):
                left = registry.move_warehouse(value)
            else:
                registry.set_setting(setting, value)
    return left


def _is_move(registry: Registry, before: str, now: str) -> bool:
    return is_another(before, now) or registry.setting("next_warehouse_dsn") is not None


def _configured(home: Path) -> Properties:
    """The inputs that the registry holds, as it has them; None for one that is gone."""
    with Registry.present(home / "registry.db") as registry:
        found = registry.settings() if registry else {}
    return {name: value(found[key]) if key in found else None for name, (key, value) in _SETTINGS.items()}


def _run(home: Path, inputs: Properties) -> None:
    """Leaves one receiver running: the one that runs if it has this code and port, else a new one."""
    host, port = inputs.get("host", "127.0.0.1"), inputs["port"]
    running = answers(home)
    if running is not None and running["port"] == port and running["code"] == inputs["code"]:
        control.ask_sync(home, "reload")
        return
    start(home, host, port)  # on another port too: the old one goes only when the new one has it


def _url(inputs: Properties) -> str:
    public = inputs.get("publicUrl")
    return str(public).rstrip("/") if public else f"http://{inputs.get('host', '127.0.0.1')}:{inputs['port']}"
