"""When the virtual environment is made, brought up to date, and left alone. No package is fetched."""

import contextlib
import importlib.metadata
from pathlib import Path
from typing import Any

import psutil
import pytest

from tools import progress, virtualenv

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "a clone"
    root.mkdir()
    (root / "requirements.txt").write_text("")
    (root / "requirements-dev.txt").write_text("-r requirements.txt\n")
    return root


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was run; making the environment makes just its Python, a link to this one."""
    done: list[str] = []

    def run(what: str, command: list[Any], **_: Any) -> None:
        done.append(what.split()[0])
        if what.startswith("making"):
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.unlink(missing_ok=True)
            python.symlink_to("/bin/true")

    monkeypatch.setattr(progress, "run", run)
    monkeypatch.setattr(virtualenv, "_works", lambda python, _: python.exists())
    return done


def test_it_is_made_once(project: Path, steps: list[str]) -> None:
    assert virtualenv.ready(project, development=False) == project / ".venv" / "bin" / "python"
    assert steps == ["making", "installing"]
    virtualenv.ready(project, development=False)
    assert steps == ["making", "installing"]


def test_changed_requirements_are_installed(project: Path, steps: list[str]) -> None:
    virtualenv.ready(project, development=False)
    (project / "requirements.txt").write_text("x==1\n")
    virtualenv.ready(project, development=False)
    assert steps == ["making", "installing", "installing"]


def test_development_needs_more_and_then_covers_both(project: Path, steps: list[str]) -> None:
    virtualenv.ready(project, development=False)
    virtualenv.ready(project, development=True)
    virtualenv.ready(project, development=False)
    assert steps == ["making", "installing", "installing"]
    (project / "requirements.txt").write_text("x==1\n")  # included by the other
    virtualenv.ready(project, development=True)
    assert steps[3:] == ["installing"]


SETTINGS = {"PIP_TARGET": "/elsewhere", "PIP_USER": "1", "PYTHONSAFEPATH": "1", "PYTHONWARNINGS": "error"}


def test_a_persons_settings_reach_neither_pip_nor_venv_but_those_that_say_where_packages_are(
    project: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[dict[str, str]] = []
    run = progress.run

    def note(what: str, command: list[Any], *, environment: dict[str, str], **more: Any) -> None:
        got.append(environment)
        run(what, command, **more)

    monkeypatch.setattr(progress, "run", note)
    for name, value in {**SETTINGS, "PIP_INDEX_URL": "https://mirror.example/simple"}.items():
        monkeypatch.setenv(name, value)
    virtualenv.ready(project, development=False)
    assert len(got) == 2
    for environment in got:
        assert environment.keys().isdisjoint(SETTINGS)
        assert environment["PIP_INDEX_URL"] == "https://mirror.example/simple"


def test_what_pip_put_elsewhere_is_not_taken_for_installed(project: Path, steps: list[str]) -> None:
    virtualenv.ready(project, development=False)
    python = project / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to(ROOT / ".venv" / "bin" / "python")  # a real one, which lacks these two
    here = importlib.metadata.version("pytest")
    (project / "requirements.txt").write_text(f"pytest=={here}\nnowhere[binary]==1.0  # why\npsutil==0.0.1\n")
    with pytest.raises(progress.StepFailed, match=r"nowhere==1\.0, psutil==0\.0\.1 isn't in \.venv"):
        virtualenv.ready(project, development=False)
    (project / "requirements.txt").write_text(f"pytest=={here}\n")
    virtualenv.ready(project, development=False)


def test_a_copied_folder_gets_an_environment_of_its_own(project: Path, steps: list[str]) -> None:
    virtualenv.ready(project, development=False)
    moved = project.rename(project.with_name("moved"))
    virtualenv.ready(moved, development=False)
    assert steps == ["making", "installing"] * 2


def test_an_environment_that_is_linked_to_is_left_alone(project: Path, steps: list[str]) -> None:
    virtualenv.ready(project, development=False)
    clone = project.with_name("clone")
    clone.mkdir()
    for name in ("requirements.txt", "requirements-dev.txt"):
        (clone / name).write_bytes((project / name).read_bytes())
    (clone / ".venv").symlink_to(project / ".venv")
    virtualenv.ready(clone, development=False)
    assert steps == ["making", "installing"]


def test_a_failed_install_is_tried_again(project: Path, steps: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    run = progress.run

    def fail(what: str, command: list[Any], **more: Any) -> None:
        run(what, command, **more)
        if what.startswith("installing"):
            raise progress.StepFailed("no network")

    monkeypatch.setattr(progress, "run", fail)
    with pytest.raises(progress.StepFailed):
        virtualenv.ready(project, development=False)
    monkeypatch.setattr(progress, "run", run)
    virtualenv.ready(project, development=False)
    assert steps == ["making", "installing", "installing"]


class TestProgress:
    def test_a_step_says_that_it_moves(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(progress, "EVERY_S", 0.05)
        progress.run("resting", ["sleep", "0.2"], log=tmp_path / "log", usual="a moment", timeout_s=9)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("resting: 0 s, usually a moment") >= 2

    def test_a_failed_step_shows_the_end_of_what_it_said(self, tmp_path: Path) -> None:
        command = ["sh", "-c", "seq 20; exit 3"]
        with pytest.raises(progress.StepFailed) as error:
            progress.run("counting", command, log=tmp_path / "log", usual="a moment", timeout_s=9)
        assert "    20" in str(error.value)
        assert "    12" not in str(error.value)

    def test_a_step_that_takes_too_long_ends_whole(self, tmp_path: Path) -> None:
        command = ["sh", "-c", "sleep 60 & echo $!; wait"]
        with pytest.raises(progress.StepFailed, match="not done after"):
            progress.run("resting", command, log=tmp_path / "log", usual="a moment", timeout_s=0.3)
        child = int((tmp_path / "log").read_text())
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(child).wait(5)  # raises TimeoutExpired if it was left running
