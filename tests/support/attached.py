"""The real engine with the program and the provider in the test process.

`pulumi` is the real CLI. What it otherwise starts for each run (the language host, a Python for the program, a Python
for the provider, all their imports) is here already, so a run costs a quarter. And what a test replaces with
`monkeypatch` in `components` or `provider` is what the engine meets: this is how the controls break a promise.

Proof limit: the language host, the launcher, the provider's start and its end are not used. In tests/engine,
test_journeys, test_first_day, test_secrets and test_killed use them.
"""

import asyncio
import contextlib
import gc
import os
import runpy
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from unittest.mock import patch

from pulumi import automation
from pulumi.provider.experimental.provider import Provider

from provider.__main__ import VERSION
from provider.plugin import SluiceProvider
from provider.serve import Say, start

PROJECT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 30


class _Over(Exception):
    """The language host isn't needed any more."""


class _Held(automation.PulumiCommand):
    """Runs nothing: tells the address of the language host that the Automation API serves, and keeps it there."""

    def __init__(self) -> None:
        super().__init__()
        self.address: str | None = None
        self.is_known, self.is_over = threading.Event(), threading.Event()

    def run(self, args: list[str], *_: object, **__: object) -> automation.CommandResult:
        clients = [word.removeprefix("--client=") for word in args if word.startswith("--client=")]
        if not clients:  # `stack init` and its like: the stack is there
            return automation.CommandResult("", "", 0)
        self.address = clients[0]
        self.is_known.set()
        self.is_over.wait()
        raise _Over


@contextlib.contextmanager
def language_host(program: Callable[[], None], root: Path) -> Iterator[str]:
    """Serves `program` from this process, for `pulumi --client=<address>` of a project in `root`; its address.

    The Automation API has no call for a host alone, so one `preview` of it is kept waiting for its command.
    """
    command = _Held()

    def hold() -> None:
        workspace = automation.LocalWorkspace(work_dir=str(root), program=program, pulumi_command=command)
        with contextlib.suppress(_Over):
            automation.Stack.select("dev", workspace).preview()

    holding = threading.Thread(target=hold, daemon=True)
    holding.start()
    try:
        assert command.is_known.wait(PATIENCE_S), "the language host serves"
        assert command.address is not None
        yield command.address
    finally:
        command.is_over.set()
        holding.join(PATIENCE_S)


@contextlib.contextmanager
def provider_server(make: Callable[[Say], Provider], version: str = VERSION) -> Iterator[int]:
    """Serves the provider that `make` returns from this process; its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server, port = asyncio.run_coroutine_threadsafe(start(make, version), loop).result(PATIENCE_S)
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(None), loop).result(PATIENCE_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE_S)


Providers = Mapping[str, Callable[[Say], Provider]]
"""How each plugin is made that is to be served from the test process, by the plugin's name."""


@contextlib.contextmanager
def attached(root: Path, environment: Mapping[str, str], more: Providers | None = None) -> Iterator[tuple[str, str]]:
    """While inside: (the language host's address, PULUMI_DEBUG_PROVIDERS) for the project in `root`.

    `environment`: what program and providers shall see of one; this process has it meanwhile.
    """

    def program() -> None:
        # As the language host would start it: in the project's folder, and every time anew.
        with contextlib.chdir(root):
            runpy.run_path(str(PROJECT / "__main__.py"))

    changed = {name: value for name, value in environment.items() if os.environ.get(name) != value}
    providers: Providers = {"sluice": lambda say: SluiceProvider(root, say), **(more or {})}
    with contextlib.ExitStack() as served:
        served.enter_context(patch.dict(os.environ, changed))
        ports = {name: served.enter_context(provider_server(make)) for name, make in providers.items()}
        address = served.enter_context(language_host(program, root))
        try:
            yield address, ",".join(f"{name}:{port}" for name, port in ports.items())
        finally:
            # The coroutines of a program that the engine gave up end here, and not wherever the next collection is: in
            # the middle of Python's own ast.parse, say, which then fails (python/cpython#106905).
            gc.collect()
