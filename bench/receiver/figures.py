"""What the bench measures, as numbers."""

from dataclasses import dataclass, field


@dataclass
class Measured:
    """One contender at one number of connections, in one round. Milliseconds; CPU in µs per acknowledged event."""

    name: str
    connections: int
    round: int
    rps: float
    p50: float
    p99: float
    acked: int
    errors: dict[str, int]
    behind: int
    """Events that weren't in the warehouse yet when the load ended."""
    landed_seconds: float
    """Until they were."""
    cpu: dict[str, float]
    others_load: float
    """Share of the machine's CPU that somebody else used meanwhile, 0 to 1."""


@dataclass
class Sustained:
    """A minute of load: samples of (second, accepted, loaded, waiting, receiver's RSS, loader's RSS, spool's size)."""

    seconds: float
    acked: int
    loaded: int
    rps: float
    p50: float
    p99: float
    behind: int
    landed_seconds: float
    samples: list[tuple[float, int, int, int, int, int, int]] = field(default_factory=list)
