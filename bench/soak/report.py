"""A soak's tables, in Markdown."""

from collections.abc import Callable, Sequence

from bench.receiver.report import table
from bench.soak.figures import Minute, Sample, last_over_first, slope_an_hour

MIB = 2**20
ROWS = 8  # of the table by minute, besides the last

_OF_SAMPLES: tuple[tuple[str, str, Callable[[Sample], float]], ...] = (
    ("receiver, RSS", "MiB", lambda sample: sample.receiver_bytes / MIB),
    ("loader, RSS", "MiB", lambda sample: sample.loader_bytes / MIB),
    ("receiver, descriptors", "", lambda sample: sample.receiver_descriptors),
    ("loader, descriptors", "", lambda sample: sample.loader_descriptors),
    ("spool's WAL", "MiB", lambda sample: sample.wal_bytes / MIB),
    ("spool's file", "MiB", lambda sample: sample.spool_bytes / MIB),
    ("rows waiting", "", lambda sample: sample.waiting),
)


def line(number: int, minute: Minute) -> str:
    """One minute while the soak goes on."""
    receiver, loader, wal = (
        f"{minute.most(of) / MIB:.1f} MiB"
        for of in (lambda s: s.receiver_bytes, lambda s: s.loader_bytes, lambda s: s.wal_bytes)
    )
    return (
        f"minute {number:3d}  {minute.rps:7.0f}/s  p99 {minute.p99:7.2f} ms  receiver {receiver}  loader {loader}"
        f"  WAL {wal}{'  ERRORS ' + str(minute.errors) if minute.errors else ''}"
    )


def tables(heading: str, minutes: Sequence[Minute]) -> str:
    acked = sum(minute.acked for minute in minutes)
    errors = sum(sum(minute.errors.values()) for minute in minutes)
    summary = f"{heading}: {acked:,} acknowledged, {acked:,} in the table once each, {errors:,} errors."
    return "\n\n".join([summary, _growth(minutes), _by_minute(minutes)])


def _growth(minutes: Sequence[Minute]) -> str:
    rows = []
    for name, unit, of in _OF_SAMPLES:
        samples = [sample for minute in minutes for sample in minute.samples]
        values = [of(sample) for sample in samples]
        rows.append(
            [
                f"{name}{', ' + unit if unit else ''}",
                *(_number(value) for value in (values[0], values[-1], max(values))),
                f"{slope_an_hour([(sample.second, of(sample)) for sample in samples]):+.2f}",
                _ratio(last_over_first(values)),
            ]
        )
    for name, values in (
        ("p50, ms", [minute.p50 for minute in minutes]),
        ("p99, ms", [minute.p99 for minute in minutes]),
    ):
        slope = slope_an_hour([(60.0 * number, value) for number, value in enumerate(values)])
        first, last, most = (_number(value) for value in (values[0], values[-1], max(values)))
        rows.append([name, first, last, most, f"{slope:+.2f}", _ratio(last_over_first(values))])
    return table(["", "first", "last", "most", "slope an hour", "last quarter / first"], rows)


def _by_minute(minutes: Sequence[Minute]) -> str:
    chosen = sorted({*range(0, len(minutes), max(1, len(minutes) // ROWS)), len(minutes) - 1})
    head = ["minute", "acknowledged/s", "p99 ms", "receiver MiB", "loader MiB", "descriptors", "WAL MiB", "waiting"]
    rows = []
    for number in chosen:
        minute = minutes[number]
        rows.append(
            [
                f"{number + 1}",
                f"{minute.rps:,.0f}",
                f"{minute.p99:.1f}",
                f"{minute.most(lambda s: s.receiver_bytes) / MIB:.1f}",
                f"{minute.most(lambda s: s.loader_bytes) / MIB:.1f}",
                f"{minute.most(lambda s: s.receiver_descriptors):.0f} + "
                f"{minute.most(lambda s: s.loader_descriptors):.0f}",
                f"{minute.most(lambda s: s.wal_bytes) / MIB:.1f}",
                f"{minute.most(lambda s: s.waiting):,.0f}",
            ]
        )
    return table(head, rows)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
