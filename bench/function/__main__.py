"""`python -m bench.function`: the handler's import beside boto3's, and the CPU of an invocation; prints the tables.

An import is measured in fresh processes that have the zip's files and Lambda's libraries and nothing else, taking turns
with one that imports boto3 alone. Invocations go to the handler as it is, with services in memory instead of AWS's:
what is left is our own work, and the thread that it is done in.
"""

import argparse
import gc
import hashlib
import hmac
import itertools
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from receiver import token
from receiver.aws.handler import Function
from tests.aws.function import HANDLER, ROOT, libraries, request, unpacked

IMPORT_TARGET_MS = 250
CPU_TARGET_MS = 1.0
KEY = "bench-signing-key"
TOKEN = token.printed("b" * token.SECRET_LENGTH)
PATH = f"/v1/stitch_customerio/{TOKEN}"
# No bytecode is written, as on Lambda, where the zip has none: our own modules are compiled each time.
TIMED = """
import sys, time
sys.path[:0] = sys.argv[2:]
wall, cpu = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


class Services:
    """DynamoDB, SSM and Firehose in memory."""

    def __init__(self, signed: bool) -> None:
        texts = {"schema": "stitch_customerio", "slot": "primary", "source": "customerio", "stream": "bench"}
        self.records = 0
        self._item: dict[str, Any] = {name: {"S": text} for name, text in texts.items()}
        self._item |= {"signed": {"BOOL": signed}, "signing_keys": {"S": "keys"}}

    def get_item(self, **_: Any) -> dict[str, Any]:
        return {"Item": self._item, "ConsumedCapacity": {}}

    def update_item(self, **_: Any) -> dict[str, Any]:
        return {}

    def get_parameter(self, **_: Any) -> dict[str, Any]:
        return {"Parameter": {"Value": f'["{KEY}", "another key"]'}}

    def put_record_batch(self, **asked: Any) -> dict[str, Any]:
        self.records += len(asked["Records"])
        return {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"}]}


def import_ms(pairs: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and CPU milliseconds of each import, by module."""
    module = HANDLER.rpartition(".")[0]
    found: dict[str, list[tuple[float, float]]] = {"boto3": [], module: []}
    with tempfile.TemporaryDirectory(prefix="bench-function-") as place:
        folder, lambdas = unpacked(Path(place)), libraries(Path(place) / "libraries")
        environment = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}
        for _ in range(1 + pairs):
            for name, times in found.items():
                ran = subprocess.run(
                    [sys.executable, "-I", "-S", "-B", "-c", TIMED, name, folder, lambdas],
                    env=environment, stdout=subprocess.PIPE, check=True, text=True,
                )  # fmt: skip
                wall, cpu = (1e3 * float(word) for word in ran.stdout.split())
                times.append((wall, cpu))
    return {name: times[1:] for name, times in found.items()}  # the first has the files read from the disk


def cpu_us(requests: Sequence[dict[str, Any]], signed: bool, invocations: int) -> float:
    """CPU microseconds of an invocation, on average."""
    services = Services(signed)
    function = Function(lambda _: services, "registry", "bucket")
    for asked in requests:
        assert function.answer(asked).status == 200
    gc.collect()
    turns = itertools.islice(itertools.cycle(requests), invocations)
    before = time.process_time()
    for asked in turns:
        function.answer(asked)
    used = time.process_time() - before
    assert services.records == invocations + len(requests)
    return 1e6 * used / invocations


def sample_requests(*, signed: bool) -> list[dict[str, Any]]:
    samples = sorted((ROOT / "samples").glob("*.jsonl"))
    bodies = [line for file in samples for line in file.read_bytes().splitlines()]
    return [request(PATH, body, headers=_signature(body) if signed else {}) for body in bodies]


def _signature(body: bytes) -> dict[str, str]:
    code = hmac.new(KEY.encode(), b"v0:1767225605:" + body, hashlib.sha256)
    return {"x-cio-timestamp": "1767225605", "x-cio-signature": code.hexdigest()}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.function", description=__doc__)
    parser.add_argument("--pairs", type=int, default=15, help="of fresh processes, for the import")
    parser.add_argument("--rounds", type=int, default=5, help="of invocations")
    parser.add_argument("--invocations", type=int, default=20_000, help="a round")
    options = parser.parse_args(arguments)
    machine = f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {machine}\n")
    print(import_table(import_ms(options.pairs)), "\n")
    print(cpu_table(options.rounds, options.invocations))
    return 0


def import_table(found: dict[str, list[tuple[float, float]]]) -> str:
    (boto3, alone), (ours, with_ours) = found.items()
    wall: Callable[[tuple[float, float]], float] = lambda pair: pair[0]  # noqa: E731
    beside = [after[0] - before[0] for before, after in zip(alone, with_ours, strict=True)]
    cpu = [after[1] - before[1] for before, after in zip(alone, with_ours, strict=True)]
    verdict = "reached" if median(beside) < IMPORT_TARGET_MS else "MISSED"
    rows = [
        f"| {name} | {median(map(wall, times)):.0f} ({min(map(wall, times)):.0f}–{max(map(wall, times)):.0f}) |"
        f" {median(pair[1] for pair in times):.0f} |"
        for name, times in ((boto3, alone), (ours, with_ours))
    ]
    return "\n".join(
        [
            "| import, ms | wall | CPU |",
            "|---|---:|---:|",
            *rows,
            f"| **beside boto3's** | {median(beside):.0f} ({min(beside):.0f}–{max(beside):.0f}) | {median(cpu):.0f} |",
            "",
            f"- below {IMPORT_TARGET_MS} ms beside boto3's own: {median(beside):.0f} ms, {verdict}",
        ]
    )


def cpu_table(rounds: int, invocations: int) -> str:
    lines = ["| CPU of an invocation, µs | median | least–most |", "|---|---:|---:|"]
    worst = 0.0
    for name, signed in (("samples", False), ("samples, signed, two keys", True)):
        requests = sample_requests(signed=signed)
        used = [cpu_us(requests, signed, invocations) for _ in range(rounds)]
        worst = max(worst, median(used))
        lines.append(f"| {name} | {median(used):.0f} | {min(used):.0f}–{max(used):.0f} |")
    verdict = "reached" if worst < 1e3 * CPU_TARGET_MS else "MISSED"
    return "\n".join([*lines, "", f"- below {CPU_TARGET_MS:g} ms: {worst / 1e3:.2f} ms, {verdict}"])


if __name__ == "__main__":
    sys.exit(main())
