"""What a delivery is answered, by the local receiver and by the function on AWS alike.

The answers follow Customer.io's retry rules (reporting webhooks: 4 s timeout; after 400 401 402 403 404 405 410 429
500 502 521 or a broken connection the first retry comes an hour later, and later events wait behind it): whatever
passes by itself is a 503, a body that can't be used is a 200 and a row in `_sdc_rejected`, and a 200 means "stored".
"""

from typing import NamedTuple

RETRY_AFTER_SECONDS = 5


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    closes: bool = False  # the connection can't be used again


def _fixed(status: int, word: str, *headers: tuple[str, str], closes: bool = False) -> Answer:
    return Answer(status, [("content-type", "application/json"), *headers], b'{"status":"%s"}' % word.encode(), closes)


OK = _fixed(200, "ok")
UNAUTHORIZED = _fixed(401, "unauthorized")
NOT_FOUND = _fixed(404, "not found")
METHOD_NOT_ALLOWED = _fixed(405, "method not allowed", ("allow", "POST"))
TOO_SLOW = _fixed(408, "the body took too long", closes=True)
UNAVAILABLE = _fixed(503, "try again", ("retry-after", str(RETRY_AFTER_SECONDS)))


class Address(NamedTuple):
    """The endpoint that a request is for: POST /v1/<schema>/<token>. `token` is secret."""

    schema: str
    token: str


def address(method: str, path: str) -> Address | Answer:
    """The endpoint that `path` names, or the answer to a request that is for none."""
    match path.split("/"):
        case ["", "v1", schema, token] if schema and token:
            return Address(schema, token) if method == "POST" else METHOD_NOT_ALLOWED
        case _:
            return NOT_FOUND


def place(error: BaseException) -> str:
    """Where in the code `error` was raised, and nothing of what it says: that may quote a path or a body."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_qualname}:{trace.tb_lineno}" if trace else "?"
