"""The AWS services that the function asks, and the time that it has for them.

Customer.io waits 4 s for an answer and comes back an hour after a broken one (reporting webhooks), and a function
that raises or runs out of time is answered 502 by AWS: so every wait is short, and whatever fails is `Unavailable`.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

# Two tries fit into the time of a delivery. A second is a hundred times what DynamoDB or Firehose takes as a rule.
TRY_SECONDS = 1.0

# At level DEBUG, which a function's log level may be set to, they write requests and answers with all that is in them.
for _name in ("botocore", "urllib3"):
    logging.getLogger(_name).setLevel(logging.CRITICAL + 1)

ClientOf = Callable[[str], Any]
"""A service's client by the service's name in botocore."""


class Unavailable(Exception):
    """A service failed, or there was no time for it. `code` is its error code or the error's type, never its words."""

    def __init__(self, service: str, code: str) -> None:
        super().__init__(f"{service}: {code}")
        self.service = service
        self.code = code


class Clients:
    """A client for each service, made when it is first asked for, and kept. Region and keys are the environment's."""

    def __init__(self) -> None:
        self._session = get_session()
        self._config = Config(
            connect_timeout=TRY_SECONDS,
            read_timeout=TRY_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 2},
            tcp_keepalive=True,
        )
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()  # a session is for one thread at a time; its clients are for all

    def __call__(self, service: str) -> Any:
        if service not in self._made:
            with self._lock:
                if service not in self._made:
                    self._made[service] = self._session.create_client(service, config=self._config)
        return self._made[service]


class Attempt:
    """One delivery's time, and what it waits for meanwhile."""

    def __init__(self, client_of: ClientOf, seconds: float) -> None:
        self.waits_for = ""
        self._client_of = client_of
        self._end = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, never less than 0."""
        return max(0.0, self._end - time.monotonic())

    def ask(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """The answer of `service` to `operation`, as botocore gives it. Raises Unavailable; may take too long."""
        if not self.left:
            raise Unavailable(service, "NoTimeLeft")
        self.waits_for = service
        try:
            answer: dict[str, Any] = getattr(self._client_of(service), operation)(**parameters)
        except ClientError as error:
            raise Unavailable(service, str(error.response.get("Error", {}).get("Code"))) from None
        except Exception as error:
            raise Unavailable(service, type(error).__name__) from None
        self.waits_for = ""
        return answer
