"""`python -m bench.stack`: preview, first up, an up with nothing to do and a rotation, for stacks of several sizes.

Each size is measured in turn with the bare program, on fresh stacks; ratios are of the same round. CPU is that of the
engine and of all that it starts and waits for, which a busy machine changes less than the time.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from provider import daemons, postgres
from tests.support.stack import Stack
from tools import environment
from tools.engine import engine, plugins

ROOT = Path(__file__).resolve().parent.parent.parent
BARE = Path(__file__).resolve().parent / "bare"
PLACE = ROOT / ".sluice" / "bench"
STEPS = ("preview", "first up", "no-op up", "rotation")
TARGET = 1.3


@dataclass
class Measured:
    """One stack in one round: seconds, and seconds of CPU, by step, and resources in its state."""

    name: str
    integrations: int
    round: int
    seconds: dict[str, float]
    cpu: dict[str, float]
    resources: int
    state_bytes: int
    load_average: float
    """Of the machine, over the minute before."""


def engine_environment() -> dict[str, str]:
    """What `make` runs the engine with."""
    # A user's Python keeps its bytecode; without that, every run would compile Sluice's sources anew.
    outer = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found = engine.get(outer)
    without = environment.variables(ROOT, outer, engine=found.folder)
    standins = plugins.ready("local", without, engine.cache(outer))
    return environment.variables(ROOT, outer, engine=found.folder, standins=standins)


@contextmanager
def sluice(folder: Path, engine: dict[str, str]) -> Iterator[tuple[Stack, Callable[[Sequence[int]], None]]]:
    """A clone of the project. Yields it, and what declares integrations by the versions of their tokens."""
    stack = Stack.clone(folder, engine)

    def declare(versions: Sequence[int]) -> None:
        stack.declare(
            *(
                {"name": f"Integration {number}", "source": "customerio", "tokens": {"primary": version}}
                for number, version in enumerate(versions)
            )
        )

    try:
        yield stack, declare
    finally:
        daemons.stop_all(stack.home)
        postgres.remove(stack.home)


@contextmanager
def bare(folder: Path, engine: dict[str, str]) -> Iterator[tuple[Stack, Callable[[Sequence[int]], None]]]:
    """The bare program, with the same virtual environment, backend and passphrase as the clone."""
    shutil.copytree(BARE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv").symlink_to(ROOT / ".venv")
    state = folder / ".sluice" / "state"
    state.mkdir(parents=True)
    own = {"PULUMI_BACKEND_URL": f"file://{state}", "PULUMI_CONFIG_PASSPHRASE": "a test's passphrase"}
    stack = Stack(folder, {**engine, **own})
    stack.pulumi("stack", "init", "dev", check=True)

    def declare(versions: Sequence[int]) -> None:
        path = folder / "Pulumi.dev.yaml"
        kept = [line for line in path.read_text().splitlines() if line.startswith("encryptionsalt")]
        path.write_text("\n".join([*kept, f"config: {json.dumps({'bare:versions': list(versions)})}", ""]))

    yield stack, declare


SUBJECTS = {"Sluice": sluice, "bare": bare}


def measure(name: str, integrations: int, round: int, engine: dict[str, str]) -> Measured:
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="stack-", dir=PLACE) as place:
        Path(place).chmod(0o711)  # PostgreSQL's account must pass when we are root
        with SUBJECTS[name](Path(place) / "clone", engine) as (stack, declare):
            first, rotated = [1] * integrations, [2] + [1] * (integrations - 1)
            declare(first)
            stack.pulumi("preview", check=True)  # compiles the sources
            taken = {
                "preview": timed(stack, "preview"),
                "first up": timed(stack, "up", "--yes", "--skip-preview"),
                "no-op up": timed(stack, "up", "--yes", "--skip-preview"),
            }
            declare(rotated)
            taken["rotation"] = timed(stack, "up", "--yes", "--skip-preview")
            seconds, cpu = ({step: both[index] for step, both in taken.items()} for index in (0, 1))
            found = next((stack.root / ".sluice").rglob("stacks/*/dev.json"))
            state = json.loads(found.read_text())
            resources = len(state["checkpoint"]["latest"]["resources"])
            return Measured(name, integrations, round, seconds, cpu, resources, found.stat().st_size, load)


def timed(stack: Stack, *command: str) -> tuple[float, float]:
    """Seconds, and seconds of CPU."""
    began, spent = time.monotonic(), _spent()
    stack.pulumi(*command, check=True)
    return time.monotonic() - began, _spent() - spent


def _spent() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def tables(figures: Sequence[Measured]) -> str:
    sizes = sorted({found.integrations for found in figures})
    lines = ["| integrations (resources) | | " + " | ".join(STEPS) + " |", "|---|---" + "|---:" * len(STEPS) + "|"]
    for size in sizes:
        chosen = [found for found in figures if found.integrations == size]
        for name in SUBJECTS:
            own = [found for found in chosen if found.name == name]
            for what, measured in ((name, [found.seconds for found in own]), (f"{name}, CPU", [f.cpu for f in own])):
                cells = [f"{median(found[step] for found in measured):.2f} s" for step in STEPS]
                lines.append(f"| {size} ({own[0].resources}) | {what} | " + " | ".join(cells) + " |")
        cells = [_ratio_cell(chosen, step) for step in STEPS]
        lines.append(f"| {size} | **ratio** | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _ratio_cell(figures: Sequence[Measured], step: str) -> str:
    by_round: dict[int, dict[str, float]] = {}
    for found in figures:
        by_round.setdefault(found.round, {})[found.name] = found.seconds[step]
    ratios = [pair["Sluice"] / pair["bare"] for pair in by_round.values()]
    verdict = "" if median(ratios) <= TARGET else " MISSED"
    return f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}){verdict}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stack", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--integrations", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--json", type=Path, help="where to keep every single figure")
    options = parser.parse_args(arguments)
    PLACE.mkdir(parents=True, exist_ok=True)
    engine = engine_environment()
    figures: list[Measured] = []
    for round in range(1, options.rounds + 1):
        for integrations in options.integrations:
            for name in SUBJECTS:
                found = measure(name, integrations, round, engine)
                figures.append(found)
                shown = ", ".join(f"{step} {seconds:.2f}" for step, seconds in found.seconds.items())
                print(
                    f"round {round}  {integrations:3d}  {name:6s}  {found.resources} resources  {shown}  "
                    f"state {found.state_bytes // 1024} KiB  load {found.load_average:.1f}",
                    file=sys.stderr, flush=True,
                )  # fmt: skip
    loads = [found.load_average for found in figures]
    print(
        f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} CPUs; "
        f"load average {median(loads):.1f} (at most {max(loads):.1f})\n"
    )
    print(tables(figures))
    if options.json:
        kept: list[dict[str, Any]] = [vars(found) for found in figures]
        options.json.write_text(json.dumps(kept, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
