"""A receiver whose clock is off by as many seconds as the file `clock` in its folder says."""

import sys
import time
from pathlib import Path

import quick  # noqa: F401 (it makes waits short)

from receiver.__main__ import main

HOME = Path(sys.argv[sys.argv.index("--home") + 1])
TIME, TIME_NS = time.time, time.time_ns


def off_by() -> float:
    try:
        return float((HOME / "clock").read_text() or 0)
    except FileNotFoundError:
        return 0.0


if __name__ == "__main__":
    time.time = lambda: TIME() + off_by()
    time.time_ns = lambda: TIME_NS() + int(off_by() * 1e9)
    sys.exit(main())
