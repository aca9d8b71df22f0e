"""The engine built from Go modules: for a network that has a Go module proxy and nothing else.

Two modules of our own, `cli` and `language`, pin the versions (their go.sum lets Go check every module). Two, as the
Python language host is a module's part only up to sdk v3.75.0. It works with the current SDK as long as the virtual
environment is the active one. The launcher that it starts is a file of the sdk at the CLI's version.

The stand-in for the random plugin is a package of `cli`, built on its own: a plugin that can't be downloaded may be
missing beside an installed engine, too.
"""

import hashlib
import os
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

STANDIN = "random-standin"
"""How the names of the stand-ins' folders begin, in the engine's cache."""


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
    go, environment = _toolchain("the engine", environment)
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


def standin_folder(version: str) -> str:
    """The folder of the stand-in for the random plugin `version`; another one when its source changes."""
    sources = [HERE / "cli" / name for name in ("go.mod", "go.sum", "random/main.go")]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return f"{STANDIN}-{version}-{digest[:12]}"


def standin(version: str, kept: Path, environment: Mapping[str, str]) -> Path:
    """The folder in `kept` with the stand-in for the random plugin, built if it isn't there. Raises CannotBuild."""
    program = kept / standin_folder(version) / "pulumi-resource-random"
    if os.access(program, os.X_OK):
        return program.parent
    go, environment = _toolchain("the random plugin's stand-in", environment)
    with tempfile.TemporaryDirectory(dir=kept, prefix="building-") as temporary:
        built = Path(temporary) / program.name
        try:
            progress.run(
                f"building a stand-in for the random plugin {version} from Go modules",
                [go, "build", *FLAGS, "-ldflags", f"-s -w -X main.version={version}", "-o", built, "./random"],
                log=kept / "build-random.log",
                usual="some seconds, and 1 minute when Go's build cache is empty",
                timeout_s=1800,
                cwd=HERE / "cli",
                environment=environment,
            )
        except progress.StepFailed as error:
            raise CannotBuild(f"building the random plugin's stand-in from Go modules failed: {error}") from None
        program.parent.mkdir(exist_ok=True)
        built.replace(program)  # whole at once: another clone may be building it, or using it
    return program.parent


def _toolchain(what: str, environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """Go's command, and the variables to run it with."""
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        raise CannotBuild(f"no Go toolchain on PATH to build {what} with, from Go modules")
    # Without a C compiler cgo would fail, and the result would depend on this machine's libraries.
    return go, {**environment, "CGO_ENABLED": "0", "GOWORK": "off"}


def _link_flags(version: str) -> str:
    return f"-s -w -X {SDK}/go/common/version.Version={version}"  # what `pulumi version` prints


def _required(module: str, path: str) -> str:
    match = re.search(rf"{re.escape(path)} (v\S+)", (HERE / module / "go.mod").read_text())
    if match is None:
        raise CannotBuild(f"{HERE / module / 'go.mod'} doesn't require {path}")
    return match[1]
