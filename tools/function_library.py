"""Fetches the builds of orjson for the Lambda runtimes that a stack's function may have: wheels from PyPI, unpacked.

pip chooses them for another Python and another processor than this machine's, so the zip is the same from everywhere.
"""

import contextlib
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from components.aws.package import LIBRARY, library_folder
from components.settings import Settings
from tools import progress

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
"""Lambda's names of the processors, and those that wheels have."""

RUNTIMES: tuple[str, ...] = get_args(Settings.model_fields["function_runtime"].annotation)


def ready(root: Path, config: Mapping[str, Any], kept: Path) -> Path:
    """Puts the library into the project's `root`, from `kept` where it was fetched before. Raises progress.StepFailed.

    `config`: the `sluice:` config of the stack's file, by key without its namespace.
    """
    architecture = str(config.get("functionArchitecture") or Settings.model_fields["function_architecture"].default)
    folder = library_folder(architecture, root)
    if not folder.is_dir() and architecture in MACHINES:  # another value is for the program to refuse
        fetched = kept / "function" / folder.name
        if not fetched.is_dir():
            _fetch(MACHINES[architecture], fetched)
        with _made_whole(folder) as copy:
            shutil.copytree(fetched, copy)
    return folder


@contextlib.contextmanager
def _made_whole(folder: Path) -> Iterator[Path]:
    """A path to make `folder` at: it is put in its place at once, unless another process was quicker."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        yield made
        try:
            made.replace(folder)
        except OSError:
            if not folder.is_dir():
                raise


def _fetch(machine: str, folder: Path) -> None:
    with _made_whole(folder) as unpacked:
        for runtime in RUNTIMES:
            wheels = unpacked.parent / runtime
            choice = ["--python-version", runtime.removeprefix("python"), "--implementation", "cp"]
            progress.run(
                f"fetching {LIBRARY} for the function ({runtime}, {machine})",
                [
                    *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"),
                    # glibc 2.17: older than that of every Amazon Linux that has these runtimes.
                    *("--no-deps", "--only-binary=:all:", "--platform", f"manylinux2014_{machine}", *choice),
                    *("--dest", str(wheels), f"{LIBRARY}=={version(LIBRARY)}"),
                ],
                log=folder.with_name(f"{folder.name}.log"),
                usual="5 s",
                timeout_s=300,
            )
            (wheel,) = wheels.glob("*.whl")
            with zipfile.ZipFile(wheel) as content:
                content.extractall(unpacked)
        for one_builds_own in (*unpacked.glob("*.dist-info/RECORD"), *unpacked.glob("*.dist-info/WHEEL")):
            one_builds_own.unlink()
