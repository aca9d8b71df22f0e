"""The function's code as it is deployed: the receiver's modules, and the one library that Lambda doesn't bring."""

from importlib.metadata import version
from pathlib import Path

import pulumi

from receiver.aws import MODULES

ROOT = Path(__file__).parents[2]
LIBRARY = "orjson"


def library_folder(architecture: str, root: Path | None = None) -> Path:
    """Where `make` puts the library's builds for a processor, arm64 or x86_64: one for each runtime that a function may
    have. `root`: the project's; this one if None.

    All of them are in the zip, as a change of the runtime reaches Lambda before the code that goes with it. The version
    is the one that this machine's receiver runs with, so that both read a body alike.
    """
    return (root or ROOT) / ".sluice" / "function" / f"{LIBRARY}-{version(LIBRARY)}-{architecture}"


def archive(architecture: str) -> pulumi.AssetArchive:
    """The function's zip. Raises RunError where the library was not fetched yet."""
    library = library_folder(architecture)
    if not library.is_dir():
        raise pulumi.RunError(
            f"the function needs {LIBRARY} for {architecture}, which isn't there yet: run make preview, make up or "
            'eval "$(make -s env)" for this stack, which fetch it'
        )
    files = {name: ROOT / name for name in MODULES}
    files |= {str(path.relative_to(library)): path for path in sorted(library.rglob("*")) if path.is_file()}
    # Relative paths: the state must not tell where one person's clone lies.
    return pulumi.AssetArchive(
        {name: pulumi.FileAsset(str(path.relative_to(ROOT))) for name, path in files.items() if _is_code(path)}
    )


def _is_code(path: Path) -> bool:
    return "__pycache__" not in path.parts
