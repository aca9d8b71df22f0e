"""`python -m bench.receiver`: everybody in turn, several rounds, on one machine and one PostgreSQL; prints the tables.

Ratios are taken within a round, between neighbours in time, and their median is reported: what else happens on the
machine then touches both sides alike.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.receiver import report
from bench.receiver.contenders import (
    BenchError,
    Contender,
    FastAPI,
    GoTwin,
    Noop,
    Sluice,
    cpu_seconds,
    running_warehouse,
)
from bench.receiver.figures import Measured, Sustained
from bench.receiver.prerequisites import PLACE, fastapi_python, go_program

ATTEMPTS = 10
QUIET_PATIENCE_S = 120


@dataclass
class Bench:
    load: Path
    contenders: list[Contender]
    runs: int = 0

    def start_load(
        self, contender: Contender, connections: int, warmup: float, seconds: float, rate: float = 0
    ) -> "subprocess.Popen[str]":
        """`rate`: requests a second; 0 for as many as are answered."""
        self.runs += 1
        return subprocess.Popen(
            [str(self.load), "-connections", str(connections), "-warmup", f"{warmup}s", "-duration", f"{seconds}s",
             "-rate", str(rate), "-run", f"{os.getpid()}x{self.runs}"],
            env={**os.environ, "LOAD_URL": contender.url}, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def measure(self, contender: Contender, connections: int, round: int, warmup: float, seconds: float) -> Measured:
        before, machine = cpu_seconds(contender.processes()), machine_cpu_seconds()
        started = time.monotonic()
        found = result(self.start_load(contender, connections, warmup, seconds))
        ended = time.monotonic()
        others = (
            machine_cpu_seconds() - machine - sum_of(cpu_seconds(contender.processes()), before) - found["cpu_seconds"]
        )
        behind = contender.counts().waiting if isinstance(contender, Sluice) else 0
        contender.landed(found["acked"])
        landed = time.monotonic()
        after = cpu_seconds(contender.processes())
        if not isinstance(contender, Noop):
            contender.warehouse.clear(contender.schema)
        per_event = {role: 1e6 * (after[role] - before[role]) / max(1, found["acked"]) for role in after}
        per_event["load"] = 1e6 * found["cpu_seconds"] / max(1, found["acked"])
        return Measured(
            contender.name, connections, round, found["rps"], found["p50_ms"], found["p99_ms"], found["acked"],
            found["errors"], behind, landed - ended, per_event, others / (ended - started) / (os.cpu_count() or 1),
        )  # fmt: skip

    def sustain(self, sluice: Sluice, connections: int, seconds: float) -> Sustained:
        receiver, loader = sluice.receiver, sluice.loader
        first = sluice.counts()
        begin = time.monotonic()
        load = self.start_load(sluice, connections, 0, seconds)
        samples = []
        while load.poll() is None:
            counts = sluice.counts()
            size = sum(file.stat().st_size for file in sluice.warehouse.home.glob("spool.db*"))
            samples.append(
                (time.monotonic() - begin, counts.accepted - first.accepted, counts.loaded - first.loaded,
                 counts.waiting, receiver.memory_info().rss, loader.memory_info().rss, size)
            )  # fmt: skip
            time.sleep(1)
        ended = time.monotonic()
        found = result(load)
        counts = sluice.counts()
        sluice.landed(found["acked"])
        landed = time.monotonic()
        sluice.warehouse.clear(sluice.schema)
        return Sustained(
            ended - begin, found["acked"], counts.loaded - first.loaded, found["rps"], found["p50_ms"],
            found["p99_ms"], counts.waiting, landed - ended, samples,
        )  # fmt: skip


def measure_alone(
    bench: Bench, contender: Contender, connections: int, round: int, options: argparse.Namespace
) -> Measured:
    """Measures until the machine was nearly ours meanwhile; gives up on that in the end, and takes what it gets."""
    for attempt in range(1, ATTEMPTS + 1):
        if options.others < 1:
            wait_for_quiet(options.others)
        with contender.started():
            found = bench.measure(contender, connections, round, options.warmup, options.seconds)
        is_good = found.others_load <= options.others or attempt == ATTEMPTS
        print(report.line(found) + ("" if is_good else "  again"), file=sys.stderr, flush=True)
        if is_good:
            break
    return found


def wait_for_quiet(share: float) -> None:
    """Returns when the machine is no busier than that, or after a while."""
    give_up = time.monotonic() + QUIET_PATIENCE_S
    while psutil.cpu_percent(1) > 100 * share and time.monotonic() < give_up:
        pass


def result(load: "subprocess.Popen[str]") -> dict[str, Any]:
    out, _ = load.communicate()
    if load.returncode:
        raise BenchError("the load generator failed")
    found: dict[str, Any] = json.loads(out)
    if found["errors"]:
        print(f"  errors: {found['errors']}", file=sys.stderr)
    return found


def sum_of(after: dict[str, float], before: dict[str, float]) -> float:
    return sum(after[role] - before[role] for role in after)


def machine_cpu_seconds() -> float:
    """CPU that the whole machine has used so far."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "irq", 0) + getattr(times, "softirq", 0))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.receiver", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--warmup", type=float, default=1, help="seconds before it, which aren't measured")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--only", nargs="+", choices=["noop", "sluice", "fastapi", "go"])
    parser.add_argument("--sustained", type=float, default=60, help="seconds of load without a pause; 0: not at all")
    parser.add_argument(
        "--others", type=float, default=0.15,
        help="share of the CPU that others may use meanwhile, else a measurement is repeated, up to 10 times",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="one short round, to see that all works")
    parser.add_argument("--json", type=Path, help="where to keep every single figure")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds, options.seconds, options.warmup, options.others = 1, 1, 0.3, 1
        options.sustained = min(options.sustained, 5)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that PostgreSQL and the servers are stopped
    try:
        run(options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace) -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    wanted = options.only or ["noop", "sluice", "fastapi", "go"]
    load = go_program("load")
    with tempfile.TemporaryDirectory(prefix="run-", dir=PLACE) as folder, running_warehouse(Path(folder)) as warehouse:
        contenders: dict[str, Contender] = {
            "noop": Noop("no-op", "bench_noop", warehouse),
            "sluice": Sluice("Sluice", "bench_sluice", warehouse),
        }
        if "fastapi" in wanted:
            contenders["fastapi"] = FastAPI("FastAPI", "bench_fastapi", warehouse, python=fastapi_python())
        if "go" in wanted:
            contenders["go"] = GoTwin("Go twin", "bench_go", warehouse, binary=go_program("gotwin"))
        bench = Bench(load, [contenders[name] for name in wanted])
        for contender in bench.contenders:
            if not isinstance(contender, Noop):
                warehouse.make_schema(contender.schema)
        figures: list[Measured] = []
        for round in range(1, options.rounds + 1):
            for connections in options.connections:
                for contender in bench.contenders:
                    figures.append(measure_alone(bench, contender, connections, round, options))
            print(report.tables(f"after round {round}", figures, None), file=sys.stderr, flush=True)
        sustained = None
        if options.sustained and "sluice" in wanted:
            sluice = contenders["sluice"]
            assert isinstance(sluice, Sluice)
            with sluice.started():
                sustained = bench.sustain(sluice, 64, options.sustained)
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"
    print(report.tables(f"{time.strftime('%Y-%m-%d %H:%M')}, {machine}", figures, sustained))
    if options.json:
        kept = {"figures": [vars(found) for found in figures], "sustained": sustained and vars(sustained)}
        options.json.write_text(json.dumps(kept, indent=1))


if __name__ == "__main__":
    sys.exit(main())
