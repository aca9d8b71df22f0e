"""A stack whose state a team keeps in a backend of its own, and what `make` and the workflows do with it.

The backend is a folder elsewhere, which Pulumi treats as it does a bucket. Which backend a stack has in which shell is
shown in tests/tools/test_environment.py; here that `make` and plain Pulumi find it there.
"""

import contextlib
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
from tests.support.making import make
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
    url: str = ""
    """Of the integration's endpoint, while the stack is up."""

    @property
    def root(self) -> Path:
        return self.stack.root

    def states(self) -> set[str]:
        return {path.stem for path in self.elsewhere.glob(".pulumi/stacks/sluice/*.json")}

    def state(self) -> str:
        return (self.elsewhere / f".pulumi/stacks/sluice/{TEAM}.json").read_text()

    def own_states(self) -> set[str]:
        return {path.stem for path in self.root.glob(".sluice/.pulumi/stacks/sluice/*.json")}

    def begin(self) -> None:
        """Makes the team's stack and brings it up; nothing to do where it is."""
        self.declare(CUSTOMERIO)
        if TEAM not in self.states():
            self.plain("stack", "init", TEAM)
        if not self.url:
            self.make("up")
            self.url = self.make("url")

    def make(self, target: str, *, fails: bool = False, **variables: str) -> str:
        made = make(self.stack, target, **{"STACK": TEAM, **variables})
        assert (made.code != 0) == fails, made.text
        return made.text

    def declare(self, *integrations: dict[str, Any]) -> None:
        path = self.root / f"Pulumi.{TEAM}.yaml"
        before = yaml.safe_load(path.read_text()) if path.exists() else {}
        values = {"platform": "local", "port": self.stack.port, "adminPort": 0, "integrations": list(integrations)}
        path.write_text(yaml.safe_dump({**before, "config": {f"sluice:{name}": its for name, its in values.items()}}))

    @contextlib.contextmanager
    def shell(self, **changes: str | None) -> Iterator[None]:
        """Another shell: with these variables, and without those that are None."""
        before = self.stack.environment
        self.stack.environment = {name: its for name, its in {**before, **changes}.items() if its is not None}
        try:
            yield
        finally:
            self.stack.environment = before

    def printed(self, **variables: str) -> dict[str, str]:
        """What `make -s env` sets in a shell."""
        lines = make(self.stack, "env", **variables).out.splitlines()
        return dict(shlex.split(line)[1].split("=", 1) for line in lines)

    def plain(self, *arguments: str, stdin: str | None = None) -> Ran:
        """Plain Pulumi in a shell that has what `make -s env` printed for this stack."""
        with self.shell(**self.printed(STACK=TEAM)):
            return self.stack.pulumi(*arguments, check=True, stdin=stdin)


def url_of(folder: Path) -> str:
    return f"file://{folder}".replace(" ", "%20").replace("'", "%27")


@pytest.fixture(scope="module")
def team(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    made = Team(stack, tmp_path_factory.mktemp("the team's states"))
    stack.environment[BACKEND] = url_of(made.elsewhere)
    try:
        yield made
    finally:
        daemons.stop_all(stack.root / ".sluice" / TEAM)


def test_no_stack_is_begun_where_the_team_has_none(team: Team, tmp_path: Path) -> None:
    """A wrong URL would otherwise build everything a second time, from an empty state."""
    team.declare(CUSTOMERIO)
    with team.shell(**{BACKEND: url_of(tmp_path)}):
        for target in ("up", "review", "down"):
            said = team.make(target, fails=True)
            assert f"there is no stack team in file://{tmp_path}" in said
            assert "pulumi stack init team" in said
    assert list(tmp_path.glob(".pulumi/stacks/sluice/*.json")) == []
    assert "team" not in team.own_states()


def test_it_is_made_by_hand_with_what_make_prints_and_its_day_is_in_the_backend_of_the_team(team: Team) -> None:
    team.declare(CUSTOMERIO)
    assert team.printed(STACK=TEAM)[BACKEND] == team.stack.environment[BACKEND]
    team.plain("stack", "init", TEAM)
    assert team.states() == {TEAM}
    assert "The first `up` of this stack: 1 added." in team.make("review", FORMAT="markdown")
    team.begin()
    assert post(team.url.strip(), event("one")) == 200
    assert "live" in team.make("status")
    assert "slc_" not in (state := team.state())
    assert '"sluice:index:Endpoint"' in state
    assert "team" not in team.own_states()


def test_dev_stays_in_its_folder_and_the_shell_still_knows_the_backend_of_the_team(team: Team) -> None:
    team.begin()
    shell = team.printed()
    assert shell[BACKEND].endswith("/.sluice")
    assert shell[TEAMS] == team.stack.environment[BACKEND]
    with team.shell(**{BACKEND: shell[BACKEND], TEAMS: shell[TEAMS]}):
        assert team.make("url") == team.url


def test_the_backend_may_stand_in_pulumi_yaml(team: Team) -> None:
    team.begin()
    file = team.root / "Pulumi.yaml"
    before = file.read_text()
    file.write_text(f"{before}\nbackend:\n  url: {team.stack.environment[BACKEND]}\n")
    try:
        with team.shell(**{BACKEND: None}):
            assert team.make("url") == team.url
    finally:
        file.write_text(before)


def test_a_stack_of_this_folder_is_not_looked_for_elsewhere_without_a_word(team: Team) -> None:
    with team.shell(**{BACKEND: None}):
        team.make("preview", STACK="alone")
    assert "alone" in team.own_states()
    said = team.make("up", fails=True, STACK="alone")
    assert "there is no stack alone in file://" in said
    assert "but there is one in .sluice/ of this folder" in said


def test_the_page_of_the_workflow_is_that_of_the_team(team: Team, tmp_path: Path) -> None:
    """The step as it stands in review.yml, run as a runner runs it, with a real `make`."""
    team.begin()
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
    secrets = {team.url.strip().rsplit("/", 1)[-1], team.stack.environment["PULUMI_CONFIG_PASSPHRASE"]}
    shown = {"page": "\n".join(page).encode(), "log": (ran.stdout + ran.stderr).encode()}
    assert not [found for secret in secrets for found in places_of(secret, shown)]


def test_what_is_pending_may_be_a_colleagues_and_is_left_alone(team: Team) -> None:
    team.begin()
    file = team.elsewhere / ".pulumi/stacks/sluice/team.json"  # an import would drop what is pending
    before = file.read_text()
    state = json.loads(before)
    state["checkpoint"]["latest"]["pending_operations"] = [LOST]
    file.write_text(json.dumps(state))
    try:
        refused = team.make("up", fails=True)
        assert "was interrupted, or still runs somewhere: creating lost-endpoint" in refused
        assert "pulumi refresh --clear-pending-creates --stack team" in refused
        assert "creating lost-endpoint" in team.make("status", fails=True)
        assert "lost-endpoint" in file.read_text()
        team.plain("refresh", "--clear-pending-creates", "--yes", "--skip-preview", "--stack", TEAM)
        assert "lost-endpoint" not in file.read_text()
    finally:
        if "lost-endpoint" in file.read_text():
            file.write_text(before)


def test_a_lock_may_be_a_colleagues_and_is_left_alone(team: Team) -> None:
    """Of a process that is gone from this very machine: in this folder's own backend it would be cleared."""
    team.begin()
    lock = team.elsewhere / ".pulumi/locks/organization/sluice/team/one.json"
    lock.parent.mkdir(parents=True, exist_ok=True)
    host = os.uname().nodename
    lock.write_text(
        json.dumps({"pid": 2**22 + 1, "username": "me", "hostname": host, "timestamp": "2026-01-01T00:00:00Z"})
    )
    try:
        assert "locked by 1 lock" in team.make("up", fails=True)
        assert lock.exists()
    finally:
        lock.unlink(missing_ok=True)


def test_a_stack_moves_to_the_team_as_the_page_says(team: Team, tmp_path: Path) -> None:
    """docs/aws.md, on moving; here the other way round, into another folder, and with its secrets."""
    team.begin()
    exported = team.plain("stack", "export", "--stack", TEAM).text
    with team.shell(**{BACKEND: url_of(tmp_path)}):
        team.plain("stack", "init", TEAM)
        team.stack.pulumi("stack", "import", "--stack", TEAM, check=True, stdin=exported)
        assert team.make("url") == team.url
        assert "Nothing changes." in team.make("review")
    assert (
        team.stack.environment["PULUMI_CONFIG_PASSPHRASE"]
        not in (tmp_path / ".pulumi/stacks/sluice/team.json").read_text()
    )


def test_make_down_ends_it_there(team: Team) -> None:
    team.begin()
    team.url = ""
    assert "keeps schema stitch_customerio" in team.make("down")
    assert "sluice:index" not in team.state()
