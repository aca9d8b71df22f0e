"""actionlint, which checks the workflows: built once from its Go module, where there is a Go toolchain."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from tools import progress

VERSION = "v1.7.12"
MODULE = f"github.com/rhysd/actionlint/cmd/actionlint@{VERSION}"


def ready(kept: Path, environment: Mapping[str, str]) -> Path | None:
    """The program, kept in a folder of its version below `kept`; None, said, where it can't be had."""
    program = kept / "actionlint" / VERSION / "actionlint"
    if os.access(program, os.X_OK):
        return program
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        progress.say("actionlint: left out, as there is no Go toolchain on PATH to build it with")
        return None
    program.parent.mkdir(parents=True, exist_ok=True)
    own = {"GOBIN": str(program.parent), "CGO_ENABLED": "0", "GOWORK": "off"}
    try:
        progress.run(
            f"building actionlint {VERSION} from its Go module",
            [go, "install", MODULE],
            log=program.parent / "build.log",
            usual="1 minute",
            timeout_s=900,
            environment={**environment, **own},
        )
    except progress.StepFailed as error:
        progress.say(f"actionlint: left out, as it can't be built: {error}")
        return None
    return program
