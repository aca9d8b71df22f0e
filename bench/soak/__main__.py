"""`python -m bench.soak`: receiver, loader and PostgreSQL under a steady load for an hour, to see what grows.

A leak of a kilobyte an event, a descriptor a connection or a WAL that is never cut off shows in no test of seconds. The
load generator runs a minute at a time; then every event that it was told 200 for must be in the table once, and the
table is emptied: an hour's rows would only fill the disk. The processes are the same ones throughout.
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
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from bench.receiver.__main__ import Bench, result
from bench.receiver.contenders import BenchError, Sluice, running_warehouse
from bench.receiver.prerequisites import PLACE, go_program
from bench.soak import report
from bench.soak.figures import Minute, Sample


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, help="events a second; else half of the peak that is measured first")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--peak-seconds", type=float, default=5, help="of the measurement of the peak")
    parser.add_argument("--minute", type=float, default=60, help="seconds of one: fewer to see that all works")
    parser.add_argument("--every", type=float, default=5, help="seconds from one sample to the next")
    parser.add_argument("--json", type=Path, help="where to keep every single figure")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that PostgreSQL and the receiver are stopped
    try:
        minutes, rate = run(options)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"
    lasted = sum(minute.acked / minute.rps for minute in minutes if minute.rps) / 60
    print(
        report.tables(
            f"{time.strftime('%Y-%m-%d %H:%M')}, {machine}; {lasted:.1f} minutes at {rate:,.0f} events/s over"
            f" {options.connections} connections",
            minutes,
        )
    )
    if options.json:
        options.json.write_text(json.dumps([asdict(minute) for minute in minutes], indent=1))
    return 0


def run(options: argparse.Namespace) -> tuple[list[Minute], float]:
    """The minutes, and the rate that was asked of the receiver. Raises BenchError, also for an event that got lost."""
    PLACE.mkdir(parents=True, exist_ok=True)
    load = go_program("load")
    with tempfile.TemporaryDirectory(prefix="soak-", dir=PLACE) as folder, running_warehouse(Path(folder)) as warehouse:
        sluice = Sluice("Sluice", "soak", warehouse)
        warehouse.make_schema(sluice.schema)
        bench = Bench(load, [sluice])
        with sluice.started():
            peak = measured_peak(
                bench, sluice, options.connections, options.peak_seconds
            )  # also when it isn't asked for: it warms up
            rate = options.rate or peak / 2
            began = time.monotonic()
            minutes = []
            for number in range(1, options.minutes + 1):
                minutes.append(one_minute(bench, sluice, rate, began, options))
                print(report.line(number, minutes[-1]), file=sys.stderr, flush=True)
        return minutes, rate


def measured_peak(bench: Bench, sluice: Sluice, connections: int, seconds: float) -> float:
    """Acknowledged a second when every connection sends as fast as it is answered."""
    found = result(bench.start_load(sluice, connections, 1, seconds))
    settle(sluice, found["acked"])
    return float(found["rps"])


def one_minute(bench: Bench, sluice: Sluice, rate: float, began: float, options: argparse.Namespace) -> Minute:
    load = bench.start_load(sluice, options.connections, 0, options.minute, rate)
    samples = []
    while load.poll() is None:
        samples.append(sample(sluice, began))
        with suppress(subprocess.TimeoutExpired):  # the end of the load ends the pause
            load.wait(options.every)
    found = result(load)
    settle(sluice, found["acked"])
    return Minute(found["rps"], found["p50_ms"], found["p99_ms"], found["acked"], found["errors"], samples)


def settle(sluice: Sluice, acked: int) -> None:
    """Waits until everything is in the table, once each (its key sees to that), and empties it."""
    sluice.landed(acked)
    sluice.warehouse.clear(sluice.schema)


def sample(sluice: Sluice, began: float) -> Sample:
    receiver, loader = sluice.receiver, sluice.loader
    home = sluice.warehouse.home
    return Sample(
        time.monotonic() - began,
        receiver.memory_info().rss,
        loader.memory_info().rss,
        receiver.num_fds(),
        loader.num_fds(),
        size(home / "spool.db-wal"),
        size(home / "spool.db"),
        sluice.counts().waiting,
    )


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
