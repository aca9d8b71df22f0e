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

NEEDED = {"local": ("random",), "aws": ("random", "aws")}
"""By platform. The versions are those of the Python packages (`pulumi-plugin.json` in each)."""

STANDINS = {"random": Path(__file__).resolve().parent / "random_standin"}
"""Folders, for PATH, with an executable that serves in place of a plugin that can't be had."""

RETRY_AFTER_S = 24 * 3600
"""How long a download that failed is not tried again: each try costs seconds where there is no way out."""


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
        standins.append(STANDINS[name])
    return standins


def pinned(name: str) -> str:
    """The version of the plugin that the installed `pulumi_<name>` package goes with. Raises NoPlugin."""
    package = importlib.util.find_spec(f"pulumi_{name}")
    if package is None or package.origin is None:
        raise NoPlugin(f"the Python package pulumi_{name} isn't installed")
    return str(json.loads((Path(package.origin).parent / "pulumi-plugin.json").read_text())["version"])


def is_installed(name: str, version: str, environment: Mapping[str, str]) -> bool:
    """Whether the engine would find the real plugin, in its plugin folder or on PATH."""
    executable = f"pulumi-resource-{name}"
    home = environment.get("PULUMI_HOME") or Path(environment.get("HOME") or Path.home()) / ".pulumi"
    folder = Path(home) / "plugins" / f"resource-{name}-v{version}"
    if (folder / executable).exists() and not folder.with_name(folder.name + ".partial").exists():
        return True
    ours = {str(folder) for folder in STANDINS.values()}
    path = [part for part in environment.get("PATH", "").split(os.pathsep) if not _is_standin(part, ours)]
    return shutil.which(executable, path=os.pathsep.join(path)) is not None


def _is_standin(folder: str, ours: set[str]) -> bool:
    """A clone's stand-in must not pass for the real plugin in another clone."""
    return folder in ours or Path(folder).name in {Path(our).name for our in ours}


def _install(name: str, version: str, environment: Mapping[str, str], kept: Path) -> bool:
    failed = kept / f"{name}-{version}.failed"
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
            progress.say(f"  it can't be downloaded here: a stand-in serves ({STANDINS[name].name})")
            kept.mkdir(parents=True, exist_ok=True)
            failed.touch()
        return False
    return True
