"""The provider's process: speaks gRPC, and leaves with whoever started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
LAUNCHER = ROOT / "provider" / "pulumi-resource-sluice"

# Plays the engine: starts the provider, tells its pid, waits to be killed.
ENGINE = """
import subprocess, sys, time
provider = subprocess.Popen([sys.argv[1], "127.0.0.1:1"], stdout=subprocess.PIPE, text=True)
print(provider.pid, int(provider.stdout.readline()), flush=True)
time.sleep(60)
"""


def test_the_provider_leaves_when_its_engine_was_killed() -> None:
    engine = subprocess.Popen([sys.executable, "-c", ENGINE, str(LAUNCHER)], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    pid, port = map(int, engine.stdout.readline().split())
    provider = psutil.Process(pid)
    assert 0 < port < 65536
    time.sleep(1.2)
    assert provider.is_running(), "it stays as long as its engine does"
    os.kill(engine.pid, signal.SIGKILL)
    engine.wait()
    gone, _ = psutil.wait_procs([provider], timeout=5)
    assert gone == [provider] or provider.status() == psutil.STATUS_ZOMBIE
