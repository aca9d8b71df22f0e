"""What a soak measures, and what it says of growth: a leak is a slope, not a number."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import linear_regression, median


@dataclass(frozen=True)
class Sample:
    """The processes and files at one moment: seconds since the start, bytes, numbers of descriptors, rows."""

    second: float
    receiver_bytes: int
    loader_bytes: int
    receiver_descriptors: int
    loader_descriptors: int
    wal_bytes: int
    spool_bytes: int
    waiting: int


@dataclass
class Minute:
    """One run of the load generator, and the samples that were taken meanwhile. Milliseconds."""

    rps: float
    p50: float
    p99: float
    acked: int
    errors: dict[str, int]
    samples: list[Sample] = field(default_factory=list)

    def most(self, what: Callable[[Sample], float]) -> float:
        """The largest value in this minute."""
        return max((what(sample) for sample in self.samples), default=0)


def slope_an_hour(points: Sequence[tuple[float, float]]) -> float:
    """How much the value rises in an hour, by least squares over (second, value); 0 for fewer than two moments."""
    if len({second for second, _ in points}) < 2:
        return 0.0
    return linear_regression([second for second, _ in points], [value for _, value in points]).slope * 3600


def last_over_first(values: Sequence[float]) -> float | None:
    """The median of the last quarter over that of the first; None without values, or where the first is 0."""
    quarter = max(1, len(values) // 4)
    first = median(values[:quarter]) if values else 0
    return median(values[-quarter:]) / first if first else None
