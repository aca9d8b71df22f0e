"""What `make lint`, `make test`, `make test-all` and `make coverage` do."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import actionlint, browser, environment, policy, progress
from tools.engine import engine, plugins

ROOT = Path(__file__).resolve().parent.parent
PYTHON = (sys.executable, "-m")

TIERS: dict[str, tuple[str, ...]] = {
    "unit": ("tests/unit", "tests/tools", "tests/policy", "tests/test_docs.py"),
    "provider": ("tests/provider", "tests/customerio"),
    "receiver": (
        *("tests/receiver", "tests/hostile", "tests/faults", "tests/browser", "tests/test_querying_docs.py"),
        "tests/test_oldest_postgres.py",
        "tests/tools/test_soak.py",
    ),
    "engine": ("tests/engine", "tests/policy/test_on_one_machine.py"),
    "aws": (
        "tests/aws",
        "tests/policy/test_on_aws.py",
        "tests/tools/test_aws_place.py",
        "tests/tools/test_aws_trial.py",
    ),
}
"""The tests of each tier, by folder, and by file where one is of another tier than its folder."""

WITH_LINTERS = ("", "unit")
WITH_BROWSER = ("", "receiver")
BROWSER = Path("tests", "browser")
SIZES = "SLUICE_TEST_SIZES"
"""`nightly` for tests that differ in a number alone (tests/support/sizes.py)."""


class UnknownTier(Exception):
    """A tier was asked for that there isn't."""


def lint() -> int:
    commands = [[*PYTHON, "ruff", "check", "."], [*PYTHON, "ruff", "format", "--check", "."], [*PYTHON, "mypy"]]
    if program := actionlint.ready(engine.cache(os.environ).parent, os.environ):
        commands.append([str(program)])
    for command in commands:
        print(" ".join(command).removeprefix(" ".join(PYTHON)).strip(), flush=True)
        code = subprocess.run(command, cwd=ROOT).returncode
        if code != 0:
            return code
    return 0


def test(tier: str, arguments: Sequence[str], *, nightly: bool = False) -> int:
    """The tests of `tier`, of all where it is empty, with the linters where they belong to it.

    `arguments`: pytest's own. `nightly`: with the long matrices. Raises UnknownTier.
    """
    asked = selection(tier, arguments, nightly=nightly)
    code = lint() if tier in WITH_LINTERS else 0
    variables = _environment(_needs_browser(tier, arguments)) | ({SIZES: "nightly"} if nightly else {})
    tested = subprocess.run([*PYTHON, "pytest", *asked], cwd=ROOT, env=variables).returncode
    if code != 0:
        progress.say("sluice: the linters found something, see above")
    return tested or code


def coverage(tier: str, arguments: Sequence[str]) -> int:
    """As `test`, without linters; then which lines have run, in the processes that the tests started as well."""
    asked = selection(tier, arguments)
    folder = ROOT / ".sluice" / "coverage"
    folder.mkdir(parents=True, exist_ok=True)
    # Their own folder: each process writes a file. Those of an earlier run would count as well.
    for old in folder.iterdir():
        old.unlink()
    variables = _environment(_needs_browser(tier, arguments)) | {"COVERAGE_FILE": str(folder / "data")}

    def run(*words: str) -> int:
        return subprocess.run([*PYTHON, "coverage", *words], cwd=ROOT, env=variables).returncode

    tested = run("run", "-m", "pytest", *asked)
    return run("combine", "--quiet") or run("report") or tested


def selection(tier: str, arguments: Sequence[str], *, nightly: bool = False) -> list[str]:
    """What pytest is to run, and how. Raises UnknownTier."""
    if tier and tier not in TIERS:
        raise UnknownTier(f"there is no tier {tier} of tests: it is one of {', '.join(TIERS)}")
    markers = [tier] * bool(tier) + ["not nightly"] * (not nightly)
    return [
        # They wait more than they compute. A file is one worker's: its tests share what they start.
        *("-n", str((os.cpu_count() or 1) + 1), "--dist", "loadfile", "--no-loadscope-reorder"),
        *(("-m", " and ".join(markers)) if markers else ()),
        # What isn't asked for isn't imported either: that takes longer than many a test.
        *(() if _named(arguments) else TIERS.get(tier, ())),
        *(f"--ignore={place}" for place in _strangers(tier)),
        *arguments,
    ]


def _named(arguments: Sequence[str]) -> list[str]:
    """The files and folders among pytest's arguments."""
    paths = [word.partition("::")[0] for word in arguments]
    return [path for path in paths if path.startswith("tests") and (ROOT / path).exists()]


def _needs_browser(tier: str, arguments: Sequence[str]) -> bool:
    """Where none of its tests is asked for, none is installed."""
    named = [Path(path) for path in _named(arguments)]
    among = any(path.is_relative_to(BROWSER) or BROWSER.is_relative_to(path) for path in named)
    return tier in WITH_BROWSER and (among or not named)


def _strangers(tier: str) -> list[str]:
    """What lies in the tier's folders and is of another one."""
    own = TIERS.get(tier, ())
    others = [place for other, places in TIERS.items() if other != tier for place in places]
    return [place for place in others if any(Path(place).is_relative_to(folder) for folder in own)]


def tier_of(file: Path) -> str:
    """The tier of a test file. Raises LookupError for one that has none."""
    places = {ROOT / place: tier for tier, places in TIERS.items() for place in places}
    for place in (file, *file.parents):
        if place in places:
            return places[place]
    raise LookupError(f"{file} belongs to no tier: see TIERS in tools/checks.py")


def _environment(needs_browser: bool) -> dict[str, str]:
    """The variables that the tests run with."""
    if needs_browser:
        browser.ready(engine.cache(os.environ).parent, os.environ)
    found = engine.get(os.environ)
    outer = {key: value for key, value in os.environ.items() if not key.startswith(("SLUICE_", "MAKE", "MFLAGS"))}
    without = environment.variables(ROOT, outer, engine=found.folder)
    standins = [*plugins.ready("local", without, engine.cache(outer)), *policy.folders(ROOT, found)]
    variables = environment.variables(ROOT, outer, engine=found.folder, standins=standins)
    # Each test brings a backend of its own, and none touches the project's, or a team's.
    return {k: v for k, v in variables.items() if k not in (environment.BACKEND, environment.TEAMS_BACKEND)}
