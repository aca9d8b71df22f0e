"""Which tests `make test`, `make test-all` and `make coverage` run."""

import os

import pytest

from tools import bootstrap, checks, targets

TESTS = checks.ROOT / "tests"


def test_every_test_has_a_tier_and_no_tier_names_what_is_gone() -> None:
    found = {checks.tier_of(file) for file in TESTS.rglob("test_*.py")}
    assert found == checks.TIERS.keys()
    assert [place for places in checks.TIERS.values() for place in places if not (checks.ROOT / place).exists()] == []
    with pytest.raises(LookupError, match="belongs to no tier"):
        checks.tier_of(TESTS / "elsewhere" / "test_new.py")


def test_a_file_may_be_of_another_tier_than_its_folder() -> None:
    assert checks.tier_of(TESTS / "policy" / "test_rules.py") == "unit"
    assert checks.tier_of(TESTS / "policy" / "test_on_aws.py") == "aws"


def test_each_test_is_marked_with_its_tier(request: pytest.FixtureRequest) -> None:
    assert {mark.name for mark in request.node.iter_markers()} & checks.TIERS.keys() == {"unit"}


def test_a_tier_is_its_marker_and_only_what_may_have_it_is_read() -> None:
    asked = checks.selection("provider", ["-x"])
    assert asked[asked.index("-m") + 1] == "provider and not nightly"
    assert asked[-3:] == ["tests/provider", "tests/customerio", "-x"]


def test_what_is_of_another_tier_than_its_folder_is_not_read() -> None:
    assert "--ignore=tests/policy/test_on_aws.py" in checks.selection("unit", [])
    assert "--ignore=tests/policy/test_on_aws.py" not in checks.selection("aws", [])


def test_what_is_named_is_all_that_is_read() -> None:
    named = ["tests/unit/test_token.py::test_x", "-k", "y"]
    asked = checks.selection("unit", named)
    assert asked[-3:] == named
    assert "tests/unit" not in asked
    assert "unit and not nightly" in asked, "both count"


def test_a_browser_is_there_for_its_tests_alone() -> None:
    asked = [("", []), ("receiver", ["-x"]), ("", ["tests/browser/test_status_page.py"]), ("", ["tests"])]
    assert [checks._needs_browser(tier, words) for tier, words in asked] == [True] * 4
    spared = [("unit", []), ("", ["tests/unit"]), ("", ["tests/provider/test_serve.py::test_x"])]
    assert [checks._needs_browser(tier, words) for tier, words in spared] == [False] * 3


def test_the_long_matrices_run_where_all_is_asked_for() -> None:
    assert "not nightly" in checks.selection("", [])
    assert "-m" not in checks.selection("", [], nightly=True)
    assert "engine" in checks.selection("engine", [], nightly=True)


def test_there_is_a_worker_more_than_processors() -> None:
    asked = checks.selection("", [])
    assert int(asked[asked.index("-n") + 1]) == (os.cpu_count() or 1) + 1


@pytest.mark.parametrize("target", ["test", "test-all", "coverage"])
def test_an_unknown_tier_is_told_with_those_that_there_are(
    target: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLUICE_TIER", "units")
    assert targets.main([target]) == 1
    said = capfd.readouterr().err
    assert "there is no tier units of tests: it is one of unit, provider, receiver, engine, aws" in said


def test_what_the_checks_need_is_installed_for_each_of_them() -> None:
    assert [[name] for name in ("lint", "test", "test-all", "coverage")] == list(bootstrap.CHECKS)
    assert {name for (name,) in bootstrap.CHECKS} <= targets.TARGETS.keys()
