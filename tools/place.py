"""What `make` asks of the platform that a stack runs on, beside what it asks the engine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from receiver.replay import Wanted
from receiver.token import fingerprint
from tools.endpoints import Endpoint

Resources = Sequence[Mapping[str, Any]]
"""The resources in a stack's state, as `Stack.resources` gives them."""


def revoked(slot: str, schema: str, hash: str) -> str:
    """What is said of a live URL that was ended, as nothing else would have ended it. `hash`: of its token."""
    return f"revoked the {slot} URL of {schema}, {fingerprint(hash)}: the stack's state knows nothing of it"


@dataclass(frozen=True)
class Counts:
    """What became of a schema's deliveries, in numbers; `last_event_at` in seconds since 1970."""

    accepted: int
    loaded: int
    rejected: int
    waiting: int
    last_event_at: float | None


@dataclass(frozen=True)
class Status:
    """How a stack is doing. By endpoint (the hash of its token) and by schema; `problems`: a sentence each."""

    states: Mapping[str, str]
    last_used: Mapping[str, float | None]
    problems: list[str] = field(default_factory=list)
    counts: Mapping[str, Counts] | None = None
    """None where the platform doesn't count."""

    notes: list[str] = field(default_factory=list)
    """What is good to know and no problem: no event is the worse for it."""


class Place(Protocol):
    def check(self) -> None:
        """Raises StackError for what an `up` would only find out half-way."""
        ...

    def states(self, endpoints: Sequence[Endpoint]) -> Mapping[str, str]:
        """By the hash of its token, whether an endpoint is live, in a word or two."""
        ...

    def status(self, endpoints: Sequence[Endpoint], resources: Resources) -> Status: ...

    def query(self, sql: str, outputs: Mapping[str, Any]) -> int:
        """Runs one statement (or, where that can be, a prompt) on the warehouse in front of the person."""
        ...

    def replay(self, schemas: Sequence[str], asked: Wanted, outputs: Mapping[str, Any], *, dry: bool) -> int:
        """Loads those of the schemas' rejected deliveries that are events now; with `dry`, says only which."""
        ...

    def logs(self) -> Mapping[str, str]:
        """The last lines of each log, by its name."""
        ...

    def loss(self, resources: Resources) -> list[str]:
        """What a destroy drops and keeps of the schemas, one line each."""
        ...

    def forget(self, exported: Mapping[str, Any]) -> list[str]:
        """Ends what a killed `up` had just made, its state doesn't know, and the next would trip over; says what.

        `exported`: a `pulumi stack export` with what was pending.
        """
        ...

    def strays(self, resources: Resources) -> list[str]:
        """The live URLs that the stack's state doesn't know, a sentence each: nothing else would ever end them."""
        ...

    def revoke_strays(self, resources: Resources) -> list[str]:
        """Ends those; says which."""
        ...

    def stop_all(self) -> list[str]:
        """Stops what runs of it on this machine, also what the state doesn't know of; says what."""
        ...
