"""A browser for the tests of the status page: the one that is there, or Debian's Chromium, installed by apt as root."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tools import progress

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ON_MACOS = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")


def found(environment: Mapping[str, str]) -> Path | None:
    """The browser of this machine, if it has one."""
    for name in NAMES:
        if program := shutil.which(name, path=environment.get("PATH")):
            return Path(program)
    return ON_MACOS if ON_MACOS.exists() else None


def ready(logs: Path, environment: Mapping[str, str]) -> Path | None:
    """The browser; None, said, where there is none and it can't be had without asking anybody."""
    if program := found(environment):
        return program
    apt = shutil.which("apt-get", path=environment.get("PATH"))
    if apt is None or os.geteuid() != 0:
        progress.say("browser: the tests that need one are left out: install chromium")
        return None
    quiet = {**environment, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for what, command in (("listing the packages", ["update"]), ("installing chromium", _INSTALL)):
            progress.run(
                f"browser: {what} for the tests",
                [apt, *command],
                log=logs / "browser.log",
                usual="1 minute",
                timeout_s=900,
                environment=quiet,
            )
    except progress.StepFailed as error:
        progress.say(f"browser: the tests that need one are left out, as chromium can't be installed: {error}")
    return found(environment)


_INSTALL = ["install", "-y", "--no-install-recommends", "chromium"]
