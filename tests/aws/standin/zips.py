"""Archives: zipped the same way every time and kept beside, since the provider protocol's SDK can't take one back.

`code` leaves the inputs and `codeZip: {zip, sha256}` takes its place, so that a changed file is a changed sha256. The
zip is kept at `$SLUICE_TEST_ZIPS/<sha256>.zip`, for tests to unpack and run.
"""

import hashlib
import io
import os
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pulumi

from provider.resource import ResourceError
from tests.aws.standin.tables import Properties

FIXED = (1980, 1, 1, 0, 0, 0)


def keep(archive: Any, project: Path = Path()) -> Properties:
    """Zips an archive as it came from the engine; returns the `codeZip` that stands for it.

    `project`: the folder that its paths are relative to, if it isn't the working folder.
    """
    files = dict(_files(archive, "", project))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, FIXED)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            target.writestr(entry, files[name])
    digest = hashlib.sha256(packed.getvalue()).hexdigest()
    folder = Path(os.environ.get("SLUICE_TEST_ZIPS") or Path(tempfile.gettempdir()) / "sluice-standin-zips")
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{digest}.zip"
    if not place.exists():
        half = folder / f"{digest}.{os.getpid()}"
        half.write_bytes(packed.getvalue())
        half.replace(place)
    return {"zip": str(place), "sha256": digest}


def _files(source: Any, name: str, project: Path) -> Iterator[tuple[str, bytes]]:
    if hasattr(source, "value"):  # a PropertyValue around it
        source = source.value
    if isinstance(source, pulumi.AssetArchive):
        for key, inner in source.assets.items():
            yield from _files(inner, f"{name}/{key}" if name else key, project)
    elif isinstance(source, pulumi.StringAsset):
        yield name, source.text.encode()
    elif isinstance(source, pulumi.FileAsset):
        yield name, (project / source.path).read_bytes()
    elif isinstance(source, pulumi.FileArchive) and (project / source.path).is_dir():
        root = project / source.path
        for path in sorted(root.rglob("*")):
            if path.is_file():
                inside = path.relative_to(root).as_posix()
                yield f"{name}/{inside}" if name else inside, path.read_bytes()
    elif isinstance(source, pulumi.FileArchive) and zipfile.is_zipfile(project / source.path):
        with zipfile.ZipFile(project / source.path) as packed:
            for inside in packed.namelist():
                if not inside.endswith("/"):
                    yield f"{name}/{inside}" if name else inside, packed.read(inside)
    else:
        raise ResourceError(f"the stand-in for the AWS plugin can't pack a {type(source).__name__}")
