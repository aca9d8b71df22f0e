"""The engine from Pulumi's official installer, at the pinned version."""

import os
import shutil
import tempfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tools import progress
from tools.engine import build

URL = "https://get.pulumi.com/install.sh"
"""The script behind `curl -fsSL https://get.pulumi.com | sh`; Pulumi's own SDK fetches it from here."""

CONNECT_TIMEOUT_S = 5


class CannotInstall(Exception):
    """The installer can't be had or does not succeed."""


def folder_name() -> str:
    return build.cli_version()


def get(kept: Path, environment: Mapping[str, str], url: str = URL) -> None:
    """Installs into `kept`/v<version>, whole or not at all. Raises CannotInstall."""
    version = build.cli_version()
    try:
        # A closed network is to be noticed quickly; the downloads of the script itself have the step's time limit.
        with urllib.request.urlopen(url, timeout=CONNECT_TIMEOUT_S) as answer:  # noqa: S310 (a constant)
            script = answer.read()
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise CannotInstall(f"the official installer can't be reached ({url}: {reason})") from None

    with tempfile.TemporaryDirectory(dir=kept, prefix="installing-") as temporary:
        root = Path(temporary)
        (root / "install.sh").write_bytes(script)
        try:
            progress.run(
                f"installing Pulumi {version} with the official installer",
                ["sh", root / "install.sh", "--no-edit-path", "--install-root", root, "--version", version[1:]],
                log=kept / "install.log",
                usual="1 minute",
                timeout_s=900,
                environment=environment,
            )
        except progress.StepFailed as error:
            raise CannotInstall(f"the official installer failed: {error}") from None
        if not os.access(root / "bin" / "pulumi", os.X_OK):
            raise CannotInstall("the official installer left no bin/pulumi")
        shutil.rmtree(kept / folder_name(), ignore_errors=True)
        (root / "bin").rename(kept / folder_name())
