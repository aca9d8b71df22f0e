"""A stack whose state a team keeps in a backend of its own, and what `make` and the workflows do with it.

The backend is a folder elsewhere, which Pulumi treats as it does a bucket. Each test goes on where the last ended.
"""

import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from provider import daemons
from tests.support.postgres import free_port
from tests.support.secrecy import places_of
from tests.support.stack import CUSTOMERIO, PROJECT, Ran, Stack, event, post

BACKEND, TEAMS = "PULUMI_BACKEND_URL", "SLUICE_BACKEND_URL"
TEAM = "team"
LOST = {
    "resource": {
        "urn": "urn:pulumi:team::sluice::sluice:index:Endpoint::lost-endpoint",
        "custom": True,
        "type": "sluice:index:Endpoint",
        "inputs": {},
    },
    "type": "creating",
}


@dataclass
class Team:
    """The clone as a member of the team has it, and the folder that the team's states are in."""

    stack: Stack
    elsewhere: Path

    @property
    def root(self) -> Path:
        return self.stack.root

    def states(self) -> set[str]:
        return {path.stem for path in self.elsewhere.glob(".pulumi/stacks/sluice/*.json")}

    def own_states(self) -> set[str]:
        return {path.stem for path in self.root.glob(".sluice/.pulumi/stacks/sluice/*.json")}

    def make(self, target: str, *, code: int = 0, **variables: str) -> str:
        ran = self.stack.make(target, **{"STACK": TEAM, **variables})
        assert ran.code == code, ran.text
        assert "Traceback" not in ran.text
        return ran.text

    def declare(self, *integrations: dict[str, Any]) -> None:
        path = self.root / f"Pulumi.{TEAM}.yaml"
        before = yaml.safe_load(path.read_text()) if path.exists() else {}
        values = {"platform": "local", "port": self.stack.port, "adminPort": 0, "integrations": list(integrations)}
        path.write_text(yaml.safe_dump({**before, "config": {f"sluice:{name}": its for name, its in values.items()}}))

    def printed(self, **variables: str) -> dict[str, str]:
        """What `make -s env` sets in a shell."""
        words = [f"{name}={value}" for name, value in variables.items()]
        lines = subprocess.run(
            ["make", "-s", "env", *words], cwd=self.root, env=self.stack.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        return dict(shlex.split(line)[1].split("=", 1) for line in lines)

    def plain(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Plain Pulumi in a shell that has what `make -s env` printed for this stack."""
        before = self.stack.environment
        self.stack.environment = {**before, **self.printed(STACK=TEAM)}
        try:
            return self.stack.pulumi(*arguments, check=True, stdin=stdin)
        finally:
            self.stack.environment = before


@pytest.fixture(scope="module")
def team(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    elsewhere = tmp_path_factory.mktemp("the team's states")
    stack.environment[BACKEND] = f"file://{elsewhere}".replace(" ", "%20").replace("'", "%27")
    stack.port = free_port()
    made = Team(stack, elsewhere)
    made.declare(CUSTOMERIO)
    try:
        yield made
    finally:
        daemons.stop_all(stack.root / ".sluice" / TEAM)


def test_no_stack_is_begun_where_the_team_has_none(team: Team) -> None:
    """A wrong URL would otherwise build everything a second time, from an empty state."""
    for target in ("up", "review", "down"):
        said = team.make(target, code=2)
        assert f"there is no stack team in file://{team.elsewhere}" in said
        assert "pulumi stack init team" in said
    assert team.states() == set()
    assert team.own_states() == {"dev"}


def test_it_is_made_by_hand_with_what_make_prints(team: Team) -> None:
    assert team.printed(STACK=TEAM)[BACKEND] == team.stack.environment[BACKEND]
    team.plain("stack", "init", TEAM)
    assert team.states() == {TEAM}


def test_its_whole_day_is_in_the_backend_of_the_team(team: Team) -> None:
    assert "The first `up` of this stack: 1 added." in team.make("review", FORMAT="markdown")
    assert "stitch_customerio" in team.make("up")
    url = team.make("url").strip()
    assert post(url, event("one")) == 200
    assert "live" in team.make("status")
    assert "Nothing changes." in team.make("review")
    assert "slc_" not in (state := (team.elsewhere / ".pulumi/stacks/sluice/team.json").read_text())
    assert '"sluice:index:Endpoint"' in state
    assert team.own_states() == {"dev"}


def test_dev_stays_in_its_folder_and_the_shell_still_knows_the_backend_of_the_team(team: Team) -> None:
    shell = team.printed()
    assert shell[BACKEND].endswith("/.sluice")
    assert shell[TEAMS] == team.stack.environment[BACKEND]
    before = dict(team.stack.environment)
    team.stack.environment |= {BACKEND: shell[BACKEND], TEAMS: shell[TEAMS]}
    try:
        assert team.printed() == shell
        assert "Nothing changes." in team.make("review")
    finally:
        team.stack.environment.clear()
        team.stack.environment |= before
    assert team.states() == {TEAM}


def test_the_backend_may_stand_in_pulumi_yaml(team: Team) -> None:
    file = team.root / "Pulumi.yaml"
    before, url = file.read_text(), team.stack.environment.pop(BACKEND)
    try:
        file.write_text(f"{before}\nbackend:\n  url: {url}\n")
        assert "Nothing changes." in team.make("review")
        assert team.printed()[BACKEND].endswith("/.sluice")
    finally:
        file.write_text(before)
        team.stack.environment[BACKEND] = url
    assert team.own_states() == {"dev"}


def test_a_stack_of_this_folder_is_not_looked_for_elsewhere_without_a_word(team: Team) -> None:
    url = team.stack.environment.pop(BACKEND)
    team.make("preview", STACK="alone")
    assert "alone" in team.own_states()
    team.stack.environment[BACKEND] = url
    said = team.make("up", code=2, STACK="alone")
    assert "there is no stack alone in file://" in said
    assert "but there is one in .sluice/ of this folder" in said


def test_the_page_of_the_workflow_is_that_of_the_team(team: Team, tmp_path: Path) -> None:
    """The step as it stands in review.yml, run as a runner runs it."""
    workflow = yaml.safe_load((PROJECT / ".github/workflows/review.yml").read_text())
    (step,) = [each for each in workflow["jobs"]["preview"]["steps"] if each.get("id") == "review"]

    def git(*arguments: str) -> None:
        own = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *own, *arguments], cwd=team.root, check=True, capture_output=True)

    git("init", "-q", "-b", "a-branch")
    git("add", f"Pulumi.{TEAM}.yaml", "Pulumi.yaml", "__main__.py", "components", "provider", "receiver", "tools")
    git("commit", "-qm", "what is there")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    team.declare({**CUSTOMERIO, "tokens": {"primary": 2}}, {**CUSTOMERIO, "name": "Second"})
    output = tmp_path / "output"
    ran = subprocess.run(
        ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]], cwd=team.root,
        env={
            **team.stack.environment, "STACK": TEAM, "GITHUB_BASE_REF": "main", "GITHUB_OUTPUT": str(output),
            "RUNNER_TEMP": str(tmp_path),
        },
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    head, *page, end = output.read_text().rstrip("\n").split("\n")
    assert head == f"page<<{end}"
    assert page[0] == "<!-- sluice-review -->"
    assert "1 added, 1 rotated." in "\n".join(page)
    secrets = {team.make("url").strip().rsplit("/", 1)[-1], team.stack.environment["PULUMI_CONFIG_PASSPHRASE"]}
    shown = {"page": "\n".join(page).encode(), "log": (ran.stdout + ran.stderr).encode()}
    assert not [found for secret in secrets for found in places_of(secret, shown)]
    team.declare(CUSTOMERIO)


def test_what_is_pending_may_be_a_colleagues_and_is_left_alone(team: Team) -> None:
    file = team.elsewhere / ".pulumi/stacks/sluice/team.json"  # an import would drop what is pending
    state = json.loads(file.read_text())
    state["checkpoint"]["latest"]["pending_operations"] = [LOST]
    file.write_text(json.dumps(state))
    locks = team.elsewhere / ".pulumi/locks/organization/sluice/team"
    try:
        refused = team.make("up", code=2)
        assert "was interrupted, or still runs somewhere: creating lost-endpoint" in refused
        assert "pulumi refresh --clear-pending-creates --stack team" in refused
        assert "creating lost-endpoint" in team.make("status", code=2)
        assert "creating lost-endpoint" in team.make("review", FORMAT="markdown")
        assert "lost-endpoint" in file.read_text()
        team.plain("refresh", "--clear-pending-creates", "--yes", "--skip-preview", "--stack", TEAM)
        # A lock of a process that is gone from this very machine: here it would be cleared.
        locks.mkdir(parents=True, exist_ok=True)
        lock = locks / "one.json"
        host = os.uname().nodename
        lock.write_text(
            json.dumps({"pid": 2**22 + 1, "username": "me", "hostname": host, "timestamp": "2026-01-01T00:00:00Z"})
        )
        assert "locked by 1 lock" in team.make("up", code=2)
        assert lock.exists()
        lock.unlink()
    finally:
        for left in locks.glob("one.json"):
            left.unlink()
    assert "Nothing changes." in team.make("review")


def test_a_stack_moves_to_the_team_as_the_page_says(team: Team) -> None:
    """docs/aws.md, on moving; here the other way round, into another folder, and with its secrets."""
    url, secret = team.make("url"), team.stack.environment["PULUMI_CONFIG_PASSPHRASE"]
    exported = team.plain("stack", "export", "--stack", TEAM).text
    there = team.elsewhere.parent / "moved"
    there.mkdir()
    team.stack.environment[BACKEND] = f"file://{there}"
    team.plain("stack", "init", TEAM)
    team.plain("stack", "import", "--stack", TEAM, stdin=exported)
    assert team.make("url") == url
    assert "Nothing changes." in team.make("review")
    assert secret not in (there / ".pulumi/stacks/sluice/team.json").read_text()


def test_make_down_ends_it_there(team: Team) -> None:
    assert "keeps schema stitch_customerio" in team.make("down")
    assert "sluice:index" not in (team.elsewhere.parent / "moved/.pulumi/stacks/sluice/team.json").read_text()
