"""What every workflow keeps to. actionlint, which `make lint` runs, checks the rest of them."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools import checks

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
UP = re.compile(r"\bpulumi (up|destroy|import|refresh --yes)\b|\bmake up\b")
SECRET = re.compile(r"\$\{\{[^}]*\bsecrets\.")
ENGINE = re.compile(r"\b(make|pulumi) ")
OURS = "github.event.pull_request.head.repo.full_name == github.repository"

workflows = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def parsed(text: str) -> dict[Any, Any]:
    found = yaml.safe_load(text)
    assert isinstance(found, dict)
    return found


def faults(text: str) -> list[str]:
    """What is wrong with a workflow."""
    workflow = parsed(text)
    found = [
        f"not pinned: {line.strip()}" for line in text.splitlines() if "uses: " in line and not PINNED.search(line)
    ]
    if workflow.get("permissions") != {}:
        found.append("the workflow's own permissions aren't {}")
    for name, job in workflow["jobs"].items():
        if not job.get("permissions"):
            found.append(f"{name} has no permissions of its own")
        if "checkout" in str(job["steps"]) and {"issues", "pull-requests", "contents"} & {
            scope for scope, access in job["permissions"].items() if access == "write"
        }:
            found.append(f"{name} runs the repository's code and may write to it")
        runs = "\n".join(step.get("run", "") for step in job["steps"])
        if re.search(r"\bset -\w*x", runs) or "--show-secrets" in runs:
            found.append(f"{name} shows what it is given")
        if "${{" in runs:
            found.append(f"{name} has an expression inside a command: give it through env")
        for step in job["steps"]:
            if SECRET.search(str({key: value for key, value in step.items() if key != "env"})):
                found.append(f"{name} has a secret outside env")
        if "secrets." in str(job) and ENGINE.search(runs):
            backend = str(job.get("env", {}).get("PULUMI_BACKEND_URL", ""))
            if not re.fullmatch(r"\$\{\{ vars\.PULUMI_BACKEND_URL \|\| 'https://[\w.]+' \}\}", backend):
                found.append(f"{name} may work on an empty state on the runner")
            if "PULUMI_BACKEND_URL" in runs:
                found.append(f"{name} sets its backend a second time")
            if "vars.SLUICE_STACK != ''" not in job.get("if", "") and "needs" not in job:
                found.append(f"{name} runs where nobody has named a stack")
        if UP.search(runs):
            if any((where.get("concurrency") or {}).get("cancel-in-progress") for where in (workflow, job)):
                found.append(f"{name} may be cancelled midway")
            if "timeout-minutes" in job:
                found.append(f"{name} may be cut off midway")
            if not (job.get("concurrency") or {}).get("group") or not job.get("environment"):
                found.append(f"{name} has no concurrency group or no environment of its own")
    return found


@workflows
def test_a_workflow_is_pinned_least_privileged_and_never_cut_off(file: Path) -> None:
    assert faults(file.read_text()) == []


def test_there_is_one_for_each_occasion() -> None:
    assert {file.stem for file in FILES} == {"test", "test-all", "review", "deploy", "drift"}


def test_pull_requests_run_every_tier_and_main_and_the_night_all_there_is() -> None:
    tests, every = (parsed((FOLDER / f"{name}.yml").read_text()) for name in ("test", "test-all"))
    job = tests["jobs"]["tier"]
    assert set(job["strategy"]["matrix"]["tier"]) == checks.TIERS.keys()
    assert job["steps"][-1] == {"env": {"TIER": "${{ matrix.tier }}"}, "run": 'make test TIER="$TIER"'}
    assert every["jobs"]["all"]["steps"][-1] == {"run": "make test-all"}
    assert {"push", "schedule", "pull_request"} <= every[True].keys()
    for place in every[True]["pull_request"]["paths"]:
        assert list(checks.ROOT.glob(place)), place


def test_pull_requests_of_forks_get_no_credentials() -> None:
    for file in FILES:
        workflow = parsed(file.read_text())
        (events,) = (value for key, value in workflow.items() if key is True)  # as YAML 1.1 reads `on`
        assert "pull_request_target" not in events
        for job in workflow["jobs"].values():
            if "pull_request" in events and "id-token" in job["permissions"]:
                assert OURS in job["if"].split(" && ")


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("test", "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "actions/checkout@v6"),
        ("test", "5447ce83dd # v6.0.2", "5447ce83dd"),
        ("review", "permissions: {}", "permissions: write-all"),
        ("deploy", "      contents: read\n", "      contents: write\n"),
        ("deploy", "cancel-in-progress: false", "cancel-in-progress: true"),
        ("deploy", "permissions: {}\n", "permissions: {}\nconcurrency: {group: x, cancel-in-progress: true}\n"),
        ("deploy", "    environment: ${{ vars.SLUICE_STACK }}\n", ""),
        ("deploy", 'make up STACK="$STACK"', "make up STACK=${{ secrets.ANYTHING }}"),
        ("deploy", "run: make up", "run: set -eux; make up"),
        ("deploy", "vars.SLUICE_STACK != '' && ", ""),
        ("review", 'make -s review STACK="$STACK"', "make -s review STACK=${{ env.STACK }}"),
        ("review", "vars.PULUMI_BACKEND_URL || 'https://api.pulumi.com'", "vars.PULUMI_BACKEND_URL"),
        ("drift", '          eval "$settings"', '          eval "$settings"\n          export PULUMI_BACKEND_URL=""'),
    ],
)
def test_the_checks_find_what_they_are_for(file: str, before: str, after: str) -> None:
    """Control."""
    text = (FOLDER / f"{file}.yml").read_text()
    assert before in text
    assert faults(text.replace(before, after, 1)) != []


def step(file: str, job: str, name: str) -> dict[str, Any]:
    (found,) = [
        each for each in parsed((FOLDER / f"{file}.yml").read_text())["jobs"][job]["steps"] if each.get("name") == name
    ]
    assert isinstance(found, dict)
    return found


def git(root: Path, *arguments: str) -> str:
    own = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *own, *arguments], cwd=root, check=True, capture_output=True, text=True).stdout


def test_an_approval_of_an_older_main_is_not_carried_out(tmp_path: Path) -> None:
    """An `up` of a commit that main has left behind would undo what came since."""
    git(tmp_path, "init", "-q")
    shas = []
    for message in ("approved late", "newer"):
        git(tmp_path, "commit", "-q", "--allow-empty", "-m", message)
        shas.append(git(tmp_path, "rev-parse", "HEAD").strip())
    steps = parsed((FOLDER / "deploy.yml").read_text())["jobs"]["up"]["steps"]
    names = [each.get("name") for each in steps]
    assert steps[0]["with"]["ref"] == "main"
    assert names.index("Is it still what was approved") < names.index("Up")

    def carried_out(sha: str) -> bool:
        command = ["bash", "-e", "-o", "pipefail", "-c", step("deploy", "up", "Is it still what was approved")["run"]]
        return subprocess.run(command, cwd=tmp_path, env={**os.environ, "GITHUB_SHA": sha}).returncode == 0

    assert [carried_out(sha) for sha in shas] == [False, True]
