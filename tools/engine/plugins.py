"""The Pulumi plugins that a stack's platform needs: installed ahead, or stood in for.

The engine's own automatic download is switched off (`tools.environment`): it would fetch a plugin for every installed
`pulumi_*` package, needed or not, and lose seconds in each run where none can be fetched.
"""

import importlib.util
import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from tools import progress
from tools.engine import build

NEEDED = {"local": ("random",), "aws": ("random", "aws")}
"""By platform. The versions are those of the Python packages (`pulumi-plugin.json` in each)."""

STANDINS = ("random",)
"""The plugins that are stood in for where they can't be had."""

RETRY_AFTER_S = 24 * 3600
"""How long a download that failed is not tried again: each try costs seconds where there is no way out."""

RELEASES = "https://github.com/pulumi/pulumi-{name}/releases/tag/v{version}"


class NoPlugin(Exception):
    """A plugin that can't be installed, and that nothing stands in for."""


def ready(platform: str, environment: Mapping[str, str], kept: Path) -> list[Path]:
    """Installs what is missing; returns the folders of the stand-ins to use. Raises NoPlugin.

    `environment`: as `pulumi` is to run with. `kept`: the engine's cache.
    """
    standins = []
    for name in NEEDED.get(platform, ()):
        version = pinned(name)
        if is_installed(name, version, environment) or _install(name, version, environment, kept):
            continue
        if name not in STANDINS:
            raise NoPlugin(
                f"the {name} plugin {version} can't be installed: pulumi plugin install resource {name} {version}"
            )
        standins.append(_standin(name, version, environment, kept))
    return standins


def pinned(name: str) -> str:
    """The version of the plugin that the installed `pulumi_<name>` package goes with. Raises NoPlugin."""
    package = importlib.util.find_spec(f"pulumi_{name}")
    if package is None or package.origin is None:
        raise NoPlugin(f"the Python package pulumi_{name} isn't installed")
    return str(json.loads((Path(package.origin).parent / "pulumi-plugin.json").read_text())["version"])


def is_installed(name: str, version: str, environment: Mapping[str, str]) -> bool:
    """Whether the engine would find the real plugin."""
    return executable(name, version, environment) is not None


def executable(name: str, version: str, environment: Mapping[str, str]) -> Path | None:
    """The real plugin's, where the engine would find it: in its plugin folder or on PATH."""
    program = f"pulumi-resource-{name}"
    home = environment.get("PULUMI_HOME") or Path(environment.get("HOME") or Path.home()) / ".pulumi"
    folder = Path(home) / "plugins" / f"resource-{name}-v{version}"
    if (folder / program).exists() and not folder.with_name(folder.name + ".partial").exists():
        return folder / program
    path = [part for part in environment.get("PATH", "").split(os.pathsep) if not is_standin(part)]
    found = shutil.which(program, path=os.pathsep.join(path))
    return Path(found) if found else None


def is_standin(folder: str) -> bool:
    """Whether a part of PATH is a stand-in's: one of another version, or that isn't needed any more, is no plugin."""
    return Path(folder).name.startswith(build.STANDIN)


def _standin(name: str, version: str, environment: Mapping[str, str], kept: Path) -> Path:
    """The folder, for PATH, with an executable that serves in the plugin's place. Raises NoPlugin."""
    kept.mkdir(parents=True, exist_ok=True)
    try:
        return build.standin(version, kept, environment)
    except build.CannotBuild as error:
        _failed(name, version, kept).unlink(missing_ok=True)  # so that the next `make` tries the download again
        raise NoPlugin(
            f"the {name} plugin {version} can't be downloaded, and nothing can stand in for it. Any one of these three"
            f" is enough:\n  1. a way to the internet for: pulumi plugin install resource {name} {version}\n"
            f"  2. the plugin's archive from {RELEASES.format(name=name, version=version)}, brought here, and:"
            f" pulumi plugin install resource {name} {version} --file ARCHIVE\n"
            f"  3. Go, to build a stand-in with: {error}"
        ) from None


def _install(name: str, version: str, environment: Mapping[str, str], kept: Path) -> bool:
    failed = _failed(name, version, kept)
    if failed.exists() and time.time() - failed.stat().st_mtime < RETRY_AFTER_S:
        return False
    try:
        progress.run(
            f"installing Pulumi's {name} plugin {version}",
            ["pulumi", "plugin", "install", "resource", name, version],
            log=kept / f"plugin-{name}.log",
            usual="10 s" if name == "random" else "1 minute",
            timeout_s=120 if name in STANDINS else 900,
            environment=environment,
        )
    except progress.StepFailed:
        if name in STANDINS:
            progress.say("  it can't be downloaded here: a stand-in is to serve")
            kept.mkdir(parents=True, exist_ok=True)
            failed.touch()
        return False
    return True


def _failed(name: str, version: str, kept: Path) -> Path:
    """A file whose time says when the download was last tried in vain."""
    return kept / f"{name}-{version}.failed"
