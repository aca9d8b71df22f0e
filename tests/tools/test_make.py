"""The Makefile's own part: the list of targets, and values that reach the tools as they were typed."""

import os
import subprocess
import sys
from pathlib import Path

from tools import targets

PROJECT = Path(__file__).resolve().parent.parent.parent


def make(*words: str, environment: dict[str, str] | None = None) -> str:
    outer = {key: value for key, value in os.environ.items() if not key.startswith(("SLUICE_", "MAKE", "MFLAGS"))}
    ran = subprocess.run(
        ["make", "-s", *words],
        cwd=PROJECT,
        env={**outer, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return ran.stdout


def test_make_alone_lists_every_target() -> None:
    listed = [line.split()[1] for line in make().splitlines()]
    assert sorted(listed) == sorted(["help", *targets.TARGETS])
    assert make() == make("help")


def passed(tmp_path: Path, *words: str, environment: dict[str, str] | None = None) -> dict[str, str]:
    """What the tools are given in SLUICE_…, by a Python that only prints it."""
    fake, program = tmp_path / "python", tmp_path / "program.py"
    fake.write_text(f"#!/bin/sh\nexec '{sys.executable}' '{program}'\n")  # a #! line can't hold a path with spaces
    program.write_text(
        "import os\nprint('\\0'.join(f'{k}={v}' for k, v in os.environ.items() if k.startswith('SLUICE_')), end='')\n"
    )
    fake.chmod(0o755)
    text = make("sql", f"PYTHON={fake}", *words, environment=environment)
    return dict(pair.split("=", 1) for pair in text.split("\0"))


def test_a_query_reaches_the_tools_as_it_was_typed(tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    query = f"""select 'it''s "$x" $$ # \\ %' || $1, $(shell touch {touched}) `id`"""
    assert passed(tmp_path, f"SQL={query}")["SLUICE_SQL"] == query
    assert not touched.exists()


def test_a_tier_is_one_that_was_typed(tmp_path: Path) -> None:
    assert passed(tmp_path, "TIER=unit")["SLUICE_TIER"] == "unit"
    assert passed(tmp_path, environment={"TIER": "unit"})["SLUICE_TIER"] == ""


def test_a_display_name_may_have_spaces(tmp_path: Path) -> None:
    assert passed(tmp_path, "NAME=Stitch Customer.io")["SLUICE_NAME"] == "Stitch Customer.io"


def test_the_stack_is_dev_unless_another_is_named(tmp_path: Path) -> None:
    assert passed(tmp_path)["SLUICE_STACK"] == "dev"
    assert passed(tmp_path, "STACK=prod")["SLUICE_STACK"] == "prod"
    assert passed(tmp_path, environment={"STACK": "ci"})["SLUICE_STACK"] == "ci"


def test_a_name_that_happens_to_be_in_the_environment_is_not_taken(tmp_path: Path) -> None:
    given = passed(tmp_path, environment={"NAME": "my-host", "SQL": "drop", "FILE": "x", "SLOT": "y"})
    assert {given[key] for key in ("SLUICE_NAME", "SLUICE_SQL", "SLUICE_FILE", "SLUICE_SLOT")} == {""}


def test_an_unknown_target_is_told_without_a_traceback(capsys: object) -> None:
    assert targets.main(["nonsense"]) == 2
