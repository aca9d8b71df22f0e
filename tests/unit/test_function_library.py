"""The function's library: fetched once for the processor of the function, and whole or not there at all.

The first test here may download it, 600 kB from PyPI; `make` keeps it for the next time.
"""

import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tools import function_library
from tools.engine.engine import cache

DEFAULT = f"orjson-{version('orjson')}-arm64"
NAME = f"orjson-{version('orjson')}.dist-info"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def fetches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stands where pip would fetch: the processors that it was asked for."""
    asked: list[str] = []

    def fetch(machine: str, folder: Path) -> None:
        asked.append(machine)
        folder.mkdir(parents=True)
        (folder / "orjson.py").write_text(machine)

    monkeypatch.setattr(function_library, "_fetch", fetch)
    return asked


def test_the_real_one_has_a_build_for_every_runtime_and_its_licenses(tmp_path: Path) -> None:
    """A change of `functionRuntime` reaches Lambda before the zip does: the one that is there must serve it too."""
    folder = function_library.ready(tmp_path, {}, cache(os.environ))
    assert folder == tmp_path / ".sluice" / "function" / DEFAULT
    found = files(folder)
    builds = {f"orjson/orjson.cpython-{minor}-aarch64-linux-gnu.so" for minor in (311, 312, 313, 314)}
    assert {name for name in found if name.endswith(".so")} == builds
    assert {"orjson/__init__.py", f"{NAME}/licenses/LICENSE-MIT"} <= found
    assert all((folder / build).read_bytes()[:4] == b"\x7fELF" for build in builds)
    assert f"Version: {version('orjson')}\n" in (folder / NAME / "METADATA").read_text()


def test_it_is_fetched_once_for_every_project_and_copied_once_for_each(tmp_path: Path, fetches: list[str]) -> None:
    one, other, kept = tmp_path / "one", tmp_path / "other", tmp_path / "kept"
    for root in (one, one, other):
        folder = function_library.ready(root, {}, kept)
        assert folder == root / ".sluice" / "function" / DEFAULT
        assert files(folder) == {"orjson.py"}
    assert fetches == ["aarch64"]


def test_what_is_in_a_project_is_left_as_it_is(tmp_path: Path, fetches: list[str]) -> None:
    folder = function_library.ready(tmp_path, {}, tmp_path / "kept")
    (folder / "orjson.py").write_text("mine")
    assert function_library.ready(tmp_path, {}, tmp_path / "kept") == folder
    assert (folder / "orjson.py").read_text() == "mine"


@pytest.mark.parametrize(
    ("config", "fetched"),
    [({"functionArchitecture": "x86_64"}, "x86_64"), ({"functionArchitecture": ""}, "aarch64")],
)
def test_a_stack_may_choose_its_processor(
    tmp_path: Path, fetches: list[str], config: dict[str, Any], fetched: str
) -> None:
    folder = function_library.ready(tmp_path, config, tmp_path / "kept")
    assert fetches == [fetched]
    assert (folder / "orjson.py").read_text() == fetched


def test_a_processor_that_there_is_not_is_left_for_the_program_to_refuse(tmp_path: Path, fetches: list[str]) -> None:
    folder = function_library.ready(tmp_path, {"functionArchitecture": "armv7"}, tmp_path / "kept")
    assert fetches == []
    assert not folder.exists()


def test_a_fetch_that_fails_leaves_nothing_that_looks_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Exception):
        pass

    def run(what: str, command: list[str], **_: Any) -> None:
        wheels = Path(command[command.index("--dest") + 1])
        wheels.mkdir()
        (wheels / "half.whl").write_bytes(b"PK")
        raise Cut

    monkeypatch.setattr("tools.function_library.progress.run", run)
    with pytest.raises(Cut):
        function_library.ready(tmp_path / "root", {}, tmp_path / "kept")
    assert files(tmp_path) == set()
    assert not (tmp_path / "kept" / "function" / DEFAULT).exists()


def test_pip_is_asked_for_this_very_version_and_for_a_wheel_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A source package would be built here, by code of its own, for this machine's processor."""
    asked: list[list[str]] = []

    class Enough(Exception):
        pass

    def run(what: str, command: list[str], **_: Any) -> None:
        asked.append(command)
        raise Enough

    monkeypatch.setattr("tools.function_library.progress.run", run)
    with pytest.raises(Enough):
        function_library.ready(tmp_path, {}, tmp_path / "kept")
    ((*_, wanted),) = asked
    assert wanted == f"orjson=={version('orjson')}"
    assert {"--only-binary=:all:", "--no-deps", "--no-input"} <= {*asked[0]}
    for option, value in (
        ("--platform", "manylinux2014_aarch64"),
        ("--python-version", "3.11"),
        ("--implementation", "cp"),
    ):
        assert asked[0][asked[0].index(option) + 1] == value


def test_two_that_fetch_at_once_end_with_one_that_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "library"
    with function_library._made_whole(folder) as mine:
        mine.mkdir()
        (mine / "file").write_text("mine")
        with function_library._made_whole(folder) as quicker:
            quicker.mkdir()
            (quicker / "file").write_text("quicker")
    assert (folder / "file").read_text() == "quicker"
    assert [path.name for path in tmp_path.iterdir()] == ["library"]


def test_a_folder_that_can_not_be_put_in_its_place_is_an_error(tmp_path: Path) -> None:
    """Control: only another one's being there already is taken for success."""
    with pytest.raises(OSError), function_library._made_whole(tmp_path / "library"):
        pass
