"""What the bench needs besides the product: two Go programs, and a virtual environment for the FastAPI contender."""

import shutil
import subprocess
import sys
from pathlib import Path

from bench.receiver.contenders import HERE, ROOT, BenchError

PLACE = ROOT / ".sluice" / "bench"
REQUIREMENTS = HERE.parent / "requirements.txt"


def go_program(name: str) -> Path:
    """Builds `bench/receiver/<name>`, quickly if it was built before."""
    go = shutil.which("go") or next(filter(Path.exists, [Path("/usr/local/go/bin/go")]), None)
    if go is None:
        raise BenchError(
            "the load generator and the Go twin are Go programs: install Go 1.26 or newer (https://go.dev/dl), "
            "put it on PATH, and run this again"
        )
    binary = PLACE / "bin" / name
    _run([str(go), "build", "-o", str(binary), "."], HERE / name)
    return binary


def fastapi_python() -> Path:
    """The Python that has FastAPI, made at the first run."""
    folder = PLACE / "venv"
    python, done = folder / "bin" / "python", folder / "requirements.txt"
    if not done.exists() or done.read_bytes() != REQUIREMENTS.read_bytes():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)], ROOT)
        _run([str(python), "-m", "pip", "install", "--quiet", "-r", str(REQUIREMENTS)], ROOT)
        shutil.copyfile(REQUIREMENTS, done)
    return python


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[:3])} failed in {folder}:\n{done.stderr.strip()[-1000:]}")
