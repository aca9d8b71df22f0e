"""Customer.io's request signature, version 0. Pure.

HMAC-SHA256 over `v0:<X-CIO-Timestamp>:<raw body>` with the signing key's text as key, in lower-case hex
(Customer.io, reporting webhooks, "Securely verifying requests"). The raw body is what came over the wire: it is
checked before it is decompressed, so that nobody without the key can make us inflate anything, and never
re-serialised.
"""

import hmac
from collections.abc import Sequence


class Check:
    """One signature being checked while its body comes in, so that a large body needn't be kept for it."""

    def __init__(self, keys: Sequence[str], timestamp: str) -> None:
        """`keys` are all that are valid now: while a key is being changed, the new one and the previous one."""
        start = b"v0:" + timestamp.encode("utf-8", "surrogateescape") + b":"
        self._codes = [hmac.new(key.encode(), start, "sha256") for key in keys if key]

    def update(self, chunk: bytes) -> None:
        for code in self._codes:
            code.update(chunk)

    def accepts(self, signature: str) -> bool:
        """Whether `signature` is that of one of the keys over all that was given to `update`."""
        given = signature.encode("utf-8", "surrogateescape")
        # Every key is compared, in constant time, so that the time tells nothing.
        return sum(hmac.compare_digest(code.hexdigest().encode(), given) for code in self._codes) > 0


def is_valid(keys: Sequence[str], timestamp: str, body: bytes, signature: str) -> bool:
    """Whether `signature` (the header's value) is that of `body` at `timestamp` (the header's value) by any of `keys`.

    How old the timestamp is isn't looked at: Customer.io retries for seven days, and whether it signs a retry anew
    is not documented.
    """
    check = Check(keys, timestamp)
    check.update(body)
    return check.accepts(signature)
