"""Makes the project's virtual environment and runs a `make` target in it.

Only the standard library, and syntax that an old Python can read: it is the first thing to run on a new machine.
"""

import os
import shutil
import sys

MINIMUM = (3, 11)
CHECKS = (["lint"], ["test"], ["test-all"], ["coverage"])
ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH120 (runs on any Python)


PYTHONS = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUNBUFFERED")
"""The settings of Python that stay: they change no outcome."""


def newer_python():
    # type: () -> str | None
    """Another Python on PATH that is new enough."""
    for minor in range(20, MINIMUM[1] - 1, -1):
        found = shutil.which("python3." + str(minor))
        if found:
            return found
    return None


def main(arguments):
    # type: (list[str]) -> None
    """Runs `tools.targets` with `arguments`, in the virtual environment."""
    if sys.version_info < MINIMUM:
        other = newer_python()
        if other is None:
            sys.exit(
                "sluice: Python 3.11 or newer is needed; python3 here is "
                + ".".join(str(part) for part in sys.version_info[:2])
                + ". Install one, or say which: make PYTHON=/path/to/python3.12"
            )
        os.execv(other, [other, os.path.realpath(__file__), *arguments])  # noqa: S606

    sys.path.insert(0, ROOT)
    from pathlib import Path

    from tools import progress, virtualenv

    os.chdir(ROOT)
    try:
        python = virtualenv.ready(Path(ROOT), development=arguments[:1] in CHECKS)
    except (progress.StepFailed, OSError) as error:
        sys.exit("sluice: {}".format(error))  # noqa: UP032 (as above)
    except KeyboardInterrupt:
        sys.exit(130)
    # A person's settings of Python (PYTHONSAFEPATH, PYTHONWARNINGS=error, …) are for their own programs.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON") or name in PYTHONS}
    os.execve(python, [str(python), "-m", "tools.targets", *arguments], kept)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
