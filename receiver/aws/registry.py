"""The live endpoints, as a DynamoDB table has them.

A hit is believed for HIT_SECONDS, a miss not at all: an endpoint is live at once when its item is there, and dead
HIT_SECONDS after its item is gone. A table that can't be asked says nothing about a token: that is Unavailable, and
never a refusal.
"""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson

from receiver.aws import USED
from receiver.aws.services import Attempt, Unavailable

HIT_SECONDS = 30
AGAIN_SECONDS = 1  # a hit that is younger isn't asked for again, whatever the signature
USE_SECONDS = 60  # between two notes of the same endpoint's use


@dataclass(frozen=True)
class Endpoint:
    """One live secret URL. `hash` is `token.digest` of its token, `stream` the delivery stream of its schema."""

    hash: str
    schema: str
    slot: str
    source: str
    stream: str
    signed: bool
    signing_keys: tuple[str, ...] = field(default=(), repr=False)


class Registry:
    def __init__(self, table: str) -> None:
        self._table = table
        self._hits: dict[str, tuple[float, Endpoint]] = {}
        self._noted: dict[str, float] = {}

    def endpoint(self, hash: str, attempt: Attempt) -> Endpoint | None:
        """The endpoint whose token has this digest, or None if there is none. Raises Unavailable."""
        # By the wall clock: an instance is frozen between deliveries, and its monotonic clock may be too.
        now = time.time()
        if hash in self._hits:
            taken_at, endpoint = self._hits[hash]
            if 0 <= now - taken_at < HIT_SECONDS:
                return endpoint
        return self._looked_up(hash, attempt, now)

    def asked_again(self, endpoint: Endpoint, attempt: Attempt) -> Endpoint | None:
        """What the registry says of `endpoint` now, where what is remembered is AGAIN_SECONDS old; else `endpoint`.

        For a delivery that is about to be refused: a hit isn't believed against a sender, but one that sends nothing
        but wrong signatures costs a look-up in so many seconds and no more. Raises Unavailable.
        """
        now = time.time()
        taken_at, remembered = self._hits.get(endpoint.hash, (0.0, endpoint))
        if 0 <= now - taken_at < AGAIN_SECONDS:
            return remembered
        return self._looked_up(endpoint.hash, attempt, now)

    def _looked_up(self, hash: str, attempt: Attempt, now: float) -> Endpoint | None:
        found = self._asked(hash, attempt)
        if found:
            self._hits[hash] = now, found  # from before it was asked for
        else:
            self._hits.pop(hash, None)
        return found

    def owes_use(self, endpoint: Endpoint) -> bool:
        """Whether `note_use` is due."""
        return not 0 <= time.time() - self._noted.get(endpoint.hash, 0.0) < USE_SECONDS

    def note_use(self, endpoint: Endpoint, attempt: Attempt) -> None:
        """Keeps that the endpoint was used now, as evidence for a rotation. Raises Unavailable.

        In an item of its own: one that the program didn't put into the endpoint's item would be drift to it.
        """
        now = time.time()
        self._noted[endpoint.hash] = now
        attempt.ask(
            "dynamodb",
            "update_item",
            TableName=self._table,
            Key={"hash": {"S": f"{USED}{endpoint.hash}"}},
            UpdateExpression="SET last_used = :now",
            # An instance that was frozen while it asked goes on when it is next needed, maybe hours later.
            ConditionExpression="attribute_not_exists(last_used) OR last_used < :now",
            ExpressionAttributeValues={":now": {"N": str(int(now))}},
        )

    def _asked(self, hash: str, attempt: Attempt) -> Endpoint | None:
        answer = attempt.ask(
            "dynamodb",
            "get_item",
            TableName=self._table,
            Key={"hash": {"S": hash}},
            ConsistentRead=True,
            ReturnConsumedCapacity="TOTAL",
        )
        item = answer.get("Item")
        if item is None:
            # botocore makes an empty answer of a body that it can't read: only the table's own word refuses a token.
            if "ConsumedCapacity" not in answer:
                raise Unavailable("dynamodb", "NoAnswer")
            return None
        signed = item["signed"]["BOOL"]
        return Endpoint(
            hash,
            item["schema"]["S"],
            item["slot"]["S"],
            item["source"]["S"],
            item["stream"]["S"],
            signed,
            _signing_keys(item["signing_keys"]["S"], attempt) if signed and "signing_keys" in item else (),
        )


def _signing_keys(parameter: str, attempt: Attempt) -> tuple[str, ...]:
    """The keys in the SSM parameter of that name: a JSON list of texts, the newest first. Raises Unavailable."""
    answer = attempt.ask("ssm", "get_parameter", Name=parameter, WithDecryption=True)
    keys: Any = None
    with suppress(ValueError):
        keys = orjson.loads(answer["Parameter"]["Value"])
    if type(keys) is not list or any(type(key) is not str for key in keys):
        raise Unavailable("ssm", "NotAListOfKeys")
    return tuple(keys)
