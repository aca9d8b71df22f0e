"""`python -m receiver --home DIR --port N`: serves the integrations of one stack's folder until it is told to stop.

If a receiver of the same folder runs already, this one takes its place without losing a delivery.
"""

import argparse
import asyncio
import logging
import logging.handlers
import os
import sys
from pathlib import Path

import uvloop

from receiver.answers import place
from receiver.app import BODY_SECONDS
from receiver.logs import facts, log_to
from receiver.server import ANSWER_SECONDS, HEAD_SECONDS, Options, Receiver, StartFailed, raise_descriptor_limit

START_FAILED = 3


def main(receiver: type[Receiver] = Receiver) -> int:
    """0 after a stop; 3, with one line on stderr, if it couldn't serve."""
    options = _options()
    os.umask(0o077)
    options.home.mkdir(parents=True, exist_ok=True)
    # Not a rotating handler: two receivers write here during a hand-over. It follows a file that logrotate moved.
    log_to(logging.handlers.WatchedFileHandler(options.home / "receiver.log"))
    raise_descriptor_limit()
    try:
        uvloop.run(_serve(receiver, options))
    except StartFailed as failed:
        logging.getLogger("receiver").error("can't start", extra=facts(reason=str(failed)))
        print(failed, file=sys.stderr)  # noqa: T201 (the one line for whoever started us)
        return START_FAILED
    return 0


async def _serve(receiver: type[Receiver], options: Options) -> None:
    asyncio.get_running_loop().set_exception_handler(_report_to_log)
    await receiver(options).run()


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="receiver", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the stack's folder, .sluice/<stack>")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one; receiver.json tells which")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--head-seconds", type=float, default=HEAD_SECONDS, help="a request's head must come within")
    parser.add_argument("--body-seconds", type=float, default=BODY_SECONDS, help="and its body within")
    parser.add_argument("--answer-seconds", type=float, default=ANSWER_SECONDS, help="and its answer be taken within")
    given = parser.parse_args()
    seconds = given.head_seconds, given.body_seconds, given.answer_seconds
    return Options(given.home.absolute(), given.port, given.host, *seconds)


def _report_to_log(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    del loop
    error = context.get("exception")
    where = place(error) if isinstance(error, BaseException) else ""
    told = facts(message=context.get("message"), error=type(error).__name__, at=where)
    logging.getLogger("receiver").error("the event loop met an error", extra=told)


if __name__ == "__main__":
    sys.exit(main())
