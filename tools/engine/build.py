"""The engine built from Go modules: for a network that has a Go module proxy and nothing else.

Two modules of our own, `cli` and `language`, pin the versions (their go.sum lets Go check every module). Two, as the
Python language host is a module's part only up to sdk v3.75.0. It works with the current SDK as long as the virtual
environment is the active one. The launcher that it starts is a file of the sdk at the CLI's version.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tools import progress

HERE = Path(__file__).resolve().parent
CLI = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
LANGUAGE_HOST = "github.com/pulumi/pulumi/sdk/v3/python/cmd/pulumi-language-python"
SDK = "github.com/pulumi/pulumi/sdk/v3"
LAUNCHER = Path("python", "cmd", "pulumi-language-python-exec")

# -mod=readonly: the committed go.mod and go.sum decide; -buildvcs=false: no question to git about this repository.
FLAGS = ["-mod=readonly", "-trimpath", "-buildvcs=false"]


class CannotBuild(Exception):
    """There is no Go toolchain, or it does not succeed."""


def cli_version() -> str:
    """The pinned version of Pulumi's CLI, as `v3.258.0`: this go.mod is where it is pinned, for the installer too."""
    return _required("cli", "github.com/pulumi/pulumi/pkg/v3")


def language_version() -> str:
    """The pinned version of the language host, as `v3.75.0`."""
    return _required("language", SDK)


def folder_name() -> str:
    return f"{cli_version()}-python-{language_version()}"


def get(kept: Path, environment: Mapping[str, str]) -> None:
    """Builds into `kept`/<versions>, whole or not at all. Raises CannotBuild."""
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        raise CannotBuild("no Go toolchain on PATH to build the engine with, from Go modules")
    # Without a C compiler cgo would fail, and the result would depend on this machine's libraries.
    environment = {**environment, "CGO_ENABLED": "0", "GOWORK": "off"}
    with tempfile.TemporaryDirectory(dir=kept, prefix="building-") as temporary:
        out = Path(temporary) / "engine"
        out.mkdir()
        try:
            for module, package, version, usual in (
                ("cli", CLI, cli_version(), "3 to 6 minutes, and much less when Go's build cache has it"),
                ("language", LANGUAGE_HOST, language_version(), "1 minute"),
            ):
                progress.run(
                    f"building {Path(package).name} {version} from Go modules",
                    [go, "build", *FLAGS, "-ldflags", _link_flags(version), "-o", out, package],
                    log=kept / f"build-{module}.log",
                    usual=usual,
                    timeout_s=3600,
                    cwd=HERE / module,
                    environment=environment,
                )
        except progress.StepFailed as error:
            raise CannotBuild(f"building the engine from Go modules failed: {error}") from None
        sdk = subprocess.run(
            [go, "list", "-mod=readonly", "-m", "-f", "{{.Dir}}", SDK],
            cwd=HERE / "cli",
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        launcher = Path(sdk.stdout.strip()) / LAUNCHER
        if sdk.returncode != 0 or not launcher.is_file():
            raise CannotBuild(f"{SDK} has no {LAUNCHER} in Go's module cache: {sdk.stderr.strip()}")
        shutil.copyfile(launcher, out / LAUNCHER.name)
        (out / LAUNCHER.name).chmod(0o755)  # the module cache keeps no executable bit
        shutil.rmtree(kept / folder_name(), ignore_errors=True)
        out.rename(kept / folder_name())


def _link_flags(version: str) -> str:
    return f"-s -w -X {SDK}/go/common/version.Version={version}"  # what `pulumi version` prints


def _required(module: str, path: str) -> str:
    match = re.search(rf"{re.escape(path)} (v\S+)", (HERE / module / "go.mod").read_text())
    if match is None:
        raise CannotBuild(f"{HERE / module / 'go.mod'} doesn't require {path}")
    return match[1]
