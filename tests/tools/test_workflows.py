"""What every workflow keeps to. actionlint, which `make lint` runs, checks the rest of them."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
UP = re.compile(r"\bpulumi (up|destroy|import|refresh --yes)\b|\bmake up\b")
SECRET = re.compile(r"\$\{\{[^}]*\bsecrets\.")

workflows = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def parsed(text: str) -> dict[str, Any]:
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
    assert {file.stem for file in FILES} == {"test", "review", "deploy", "drift"}


def test_pull_requests_of_forks_get_no_credentials() -> None:
    for file in FILES:
        workflow = parsed(file.read_text())
        (events,) = (value for key, value in workflow.items() if key is True)  # as YAML 1.1 reads `on`
        assert "pull_request_target" not in events
        for job in workflow["jobs"].values():
            if "pull_request" in events and "id-token" in job["permissions"]:
                assert job["if"] == "github.event.pull_request.head.repo.full_name == github.repository"


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("test", "actions/checkout@de0fac2e4500dabe0009e67214ff5f5447ce83dd # v6.0.2", "actions/checkout@v6"),
        ("test", "5447ce83dd # v6.0.2", "5447ce83dd"),
        ("review", "permissions: {}", "permissions: write-all"),
        ("deploy", "      contents: read\n", "      contents: write\n"),
        ("deploy", "cancel-in-progress: false", "cancel-in-progress: true"),
        ("deploy", "permissions: {}\n", "permissions: {}\nconcurrency: {group: x, cancel-in-progress: true}\n"),
        ("deploy", "    environment: ${{ vars.SLUICE_STACK || 'prod' }}\n", ""),
        ("deploy", "pulumi up --yes", "pulumi up ${{ secrets.ANYTHING }} --yes"),
        ("deploy", "          pulumi up", "          set -eux\n          pulumi up"),
        ("review", 'make -s review STACK="$STACK"', "make -s review STACK=${{ env.STACK }}"),
    ],
)
def test_the_checks_find_what_they_are_for(file: str, before: str, after: str) -> None:
    """Control."""
    text = (FOLDER / f"{file}.yml").read_text()
    assert before in text
    assert faults(text.replace(before, after, 1)) != []
