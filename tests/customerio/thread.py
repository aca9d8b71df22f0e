"""An event loop in a thread of its own, so that a test can stay synchronous."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="simulated Customer.io", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns, run in the loop: state that the loop owns is never seen half changed."""
        if threading.current_thread() is self._thread:
            return function()

        async def called() -> T:
            return function()

        return self.run(called())

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def stop(self) -> None:
        """Ends every task, then the loop."""

        async def end_tasks() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(end_tasks())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)
        self.loop.close()
