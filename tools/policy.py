"""The policy pack, as `make` hands it to the engine."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tools import environment
from tools.engine import build
from tools.engine.engine import Engine

PACK = "policy"
STANDIN = Path("tools", "engine", "policy_standin")
"""The pack for an engine built from Go modules; with this folder on PATH the engine finds what starts it."""


def folders(root: Path, engine: Engine) -> list[Path]:
    """What PATH needs so that the engine can start the pack."""
    return [root / STANDIN] if _is_built(engine.folder) else []


def arguments(root: Path, stack: str, variables: Mapping[str, str], *, asked: bool) -> list[str]:
    """The options of a preview or an update of `stack`, which the engine on `variables`' PATH runs.

    Every stack but dev is held to the policies: dev is there to be played with, and dropped. `asked`: dev as well.
    """
    if stack == environment.DEV and not asked:
        return []
    cli = shutil.which("pulumi", path=variables.get("PATH"))
    return ["--policy-pack", str(root / (STANDIN if cli and _is_built(Path(cli).parent) else PACK))]


def _is_built(folder: Path | None) -> bool:
    return folder is not None and folder.name == build.folder_name()
