"""The deliveries that can't be used, as they are told of: a line in the log, and counts by reason for the status page.

The whole reason is in `_sdc_rejected`, beside the body. Here it is told without what it quotes: there are few different
ones then, whatever strangers send, and nothing of a delivery gets into a log.
"""

import logging
import re

from receiver import token
from receiver.logs import Sparingly, facts

_log = logging.getLogger("receiver.rejects")

_DETAILS = (
    (re.compile(r": line \d+ column \d+ \(char \d+\)$"), ""),
    (re.compile(r"^Content-Encoding .* isn't known"), "Content-Encoding isn't known"),
    (re.compile(r"^([0-9A-Z]{5}: [^(]*?) \(.*", re.DOTALL), r"\1"),  # the warehouse's own, which quote the row
    (re.compile(r'^(22[0-9A-Z]{3}: [^"]*)".*', re.DOTALL), r"\1…"),
)


def kind(reason: str) -> str:
    """`reason`, as it is in `_sdc_rejected`, without what differs from one body to the next."""
    for detail, instead in _DETAILS:
        reason = detail.sub(instead, reason)
    return reason


class Rejects:
    """What was rejected since the start."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, str], int] = {}  # by schema and kind of reason
        self._sparingly = Sparingly()

    def saw(self, schema: str, hash: str, reason: str, size: int) -> None:
        """A delivery of `size` bytes, by the endpoint of that hash, that goes to `_sdc_rejected`."""
        what = kind(reason)
        self.counts[schema, what] = self.counts.get((schema, what), 0) + 1
        more = self._sparingly.may_say(schema)
        if more is not None:
            told = facts(schema=schema, token=token.fingerprint(hash), reason=what, bytes=size, **more)
            _log.warning("rejected a delivery", extra=told)
