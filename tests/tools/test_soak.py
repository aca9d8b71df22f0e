"""The soak (`python -m bench.soak`) in small: it still runs, and its figures say of growth what they should."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bench.soak.figures import last_over_first, slope_an_hour

ROOT = Path(__file__).resolve().parents[2]


def test_a_leak_is_a_slope_and_noise_is_none() -> None:
    leaking = [(float(second), 100.0 + second / 3600) for second in range(0, 600, 5)]
    assert slope_an_hour(leaking) == pytest.approx(1.0)
    assert slope_an_hour([(0.0, 5.0), (5.0, 7.0), (10.0, 5.0)]) == pytest.approx(0.0)
    assert slope_an_hour([(0.0, 5.0)]) == 0.0
    assert last_over_first([10.0] * 8) == 1.0
    assert last_over_first([10.0, 10.0, 15.0, 20.0]) == 2.0
    assert last_over_first([0.0, 5.0]) is None


@pytest.mark.skipif(
    not (shutil.which("go") or Path("/usr/local/go/bin/go").exists()), reason="the load is a Go program"
)
def test_a_soak_of_seconds_measures_both_processes_and_finds_every_event(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    small = ["--minutes", "2", "--minute", "1.5", "--every", "0.3", "--rate", "100", "--connections", "4"]
    command = [sys.executable, "-m", "bench.soak", *small, "--peak-seconds", "0.5", "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    minutes = json.loads(figures.read_text())
    assert len(minutes) == 2
    acked = sum(minute["acked"] for minute in minutes)
    assert f"{acked:,} acknowledged, {acked:,} in the table once each, 0 errors" in done.stdout
    assert "| receiver, RSS, MiB |" in done.stdout
    for minute in minutes:
        assert 0 < minute["acked"] <= 200, "no more than was asked for"
        for sample in minute["samples"]:
            assert sample["receiver_bytes"] > 10 * 2**20
            assert sample["loader_bytes"] > 10 * 2**20
            assert sample["receiver_descriptors"] > 10
            assert sample["wal_bytes"] > 0
