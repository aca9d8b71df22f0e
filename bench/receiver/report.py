"""The tables of a run, in Markdown."""

from collections.abc import Callable, Sequence
from statistics import median

from bench.receiver.figures import Measured, Sustained

TARGETS = ((64, "FastAPI", 5.0), (64, "Go twin", 0.9), (64, "no-op", 0.5))
P99_TARGET_MS = 25.0


def line(found: Measured) -> str:
    """One measurement while the run goes on."""
    cpu = ", ".join(f"{role} {used:.0f}" for role, used in found.cpu.items())
    return (
        f"round {found.round}  c={found.connections:<4d}{found.name:8s} {found.rps:8.0f}/s  p50 {found.p50:6.2f}  "
        f"p99 {found.p99:7.2f} ms  behind {found.behind}  ({found.landed_seconds:.1f} s)  CPU µs/event: {cpu}  "
        f"others {found.others_load:.0%}{'  ERRORS ' + str(found.errors) if found.errors else ''}"
    )


def tables(heading: str, figures: Sequence[Measured], sustained: Sustained | None) -> str:
    parts = [f"{heading}; CPU used by others meanwhile: {_others(figures)}"]
    names = list(dict.fromkeys(found.name for found in figures))
    counts = sorted({found.connections for found in figures})
    cell: Callable[[str, int], str] = lambda name, count: _cell(figures, name, count)  # noqa: E731
    parts.append(
        table(
            ["acknowledged/s · p50 · p99 ms", *(f"{count} connections" for count in counts)],
            [[name, *(cell(name, count) for count in counts)] for name in names],
        )
    )
    if "Sluice" in names and len(names) > 1:
        parts.append(
            table(
                ["Sluice's rate, as a multiple of", *(f"{count} connections" for count in counts)],
                [
                    [name, *(_ratio_cell(figures, name, count) for count in counts)]
                    for name in names
                    if name != "Sluice"
                ],
            )
        )
        parts.append("\n".join(_verdicts(figures)))
    parts.append(_cpu_table(figures, names))
    if sustained:
        parts.append(_sustained(sustained))
    return "\n\n".join(parts)


def ratios(figures: Sequence[Measured], name: str, connections: int) -> list[float]:
    """Sluice's rate over that of `name`, round by round."""
    rates = {(found.name, found.round): found.rps for found in figures if found.connections == connections}
    rounds = sorted({round for _, round in rates})
    return [
        rates["Sluice", round] / rates[name, round]
        for round in rounds
        if ("Sluice", round) in rates and rates.get((name, round))
    ]


def _cell(figures: Sequence[Measured], name: str, connections: int) -> str:
    found = [one for one in figures if one.name == name and one.connections == connections]
    rps, p50, p99 = (median(getattr(one, what) for one in found) for what in ("rps", "p50", "p99"))
    return f"{rps:,.0f} · {p50:.1f} · {p99:.1f}"


def _ratio_cell(figures: Sequence[Measured], name: str, connections: int) -> str:
    found = ratios(figures, name, connections)
    return f"{median(found):.2f} ({min(found):.2f}–{max(found):.2f})" if found else ""


def _verdicts(figures: Sequence[Measured]) -> list[str]:
    said = []
    for connections, name, wanted in TARGETS:
        if found := ratios(figures, name, connections):
            reached = median(found)
            verdict = "reached" if reached >= wanted else "MISSED"
            said.append(f"- {connections} connections, {wanted:g} × {name}: {reached:.2f}, {verdict}")
    p99 = [found.p99 for found in figures if found.name == "Sluice" and found.connections == 64]
    if p99:
        verdict = "reached" if median(p99) < P99_TARGET_MS else "MISSED"
        said.append(f"- 64 connections, p99 below {P99_TARGET_MS:g} ms: {median(p99):.1f} ms, {verdict}")
    return said


def _cpu_table(figures: Sequence[Measured], names: Sequence[str]) -> str:
    """CPU per event at the number of connections that the targets are for (else the largest)."""
    counts = {found.connections for found in figures}
    count = 64 if 64 in counts else max(counts)
    roles = list(dict.fromkeys(role for found in figures for role in found.cpu))
    rows = []
    for name in names:
        found = [one for one in figures if one.name == name and one.connections == count]
        used = [f"{median(one.cpu[role] for one in found):.0f}" if role in found[0].cpu else "–" for role in roles]
        rows.append([name, *used, f"{median(sum(one.cpu.values()) for one in found):.0f}"])
    return table([f"CPU µs per event, {count} connections", *roles, "together"], rows)


def _sustained(found: Sustained) -> str:
    megabytes = 2**20
    lines = [
        f"{found.seconds:.0f} s at 64 connections: {found.acked:,} acknowledged ({found.acked / found.seconds:,.0f}/s, "
        f"p50 {found.p50:.1f}, p99 {found.p99:.1f} ms), {found.loaded:,} loaded meanwhile "
        f"({found.loaded / found.seconds:,.0f}/s, {found.loaded / max(1, found.acked):.1%}); "
        f"{found.behind:,} left, landed {found.landed_seconds:.1f} s later."
    ]
    rows = []
    step = max(1, len(found.samples) // 8)
    chosen = found.samples[::step]
    if found.samples and chosen[-1] != found.samples[-1]:
        chosen.append(found.samples[-1])
    for second, accepted, loaded, waiting, receiver, loader, spool in chosen:
        rows.append(
            [f"{second:.0f}", f"{accepted:,}", f"{loaded:,}", f"{waiting:,}", f"{receiver / megabytes:.0f}",
             f"{loader / megabytes:.0f}", f"{spool / megabytes:.0f}"]
        )  # fmt: skip
    lines.append(table(["second", "accepted", "loaded", "waiting", "receiver MiB", "loader MiB", "spool MiB"], rows))
    return "\n\n".join(lines)


def _others(figures: Sequence[Measured]) -> str:
    shares = [found.others_load for found in figures]
    return f"{median(shares):.0%} (at most {max(shares):.0%})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
