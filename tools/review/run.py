"""Gets what a review is made of: from the engine, from git, and from the running stack."""

import contextlib
import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from provider.resource import ResourceError
from receiver import control
from tools import endpoints, places
from tools import stack as stacks
from tools.review import declared, plan
from tools.review.declared import Declared, Key
from tools.review.deployed import deployed
from tools.review.notes import Evidence, Review
from tools.review.plan import Plan
from tools.review.review import review
from tools.stack import Stack, StackError

CODE = ("__main__.py", "components", "provider", "receiver", "requirements.txt", "tools")


def of(stack: Stack, base: str) -> Review:
    """The review of what `up` would do to `stack`. `base`: a git ref to compare the config with, or empty.

    Raises StackError for a ref that isn't there.
    """
    commit = _commit(stack.root, base) if base else ""
    resources = stack.resources()
    evidence = Evidence(
        stack=stack.name,
        declared=declared.declared(stacks.settings(stack.root, stack.name)),
        deployed=deployed(plan.state(resources)),
        plan=_preview(stack),
        base=_at(stack, commit) if commit else None,
        base_name=base,
        last_used=_last_used(stack, resources),
        code=_code(stack.root, commit) if commit else frozenset(),
        left=_left(stack),
        now=time.time(),
    )
    return review(evidence)


def _preview(stack: Stack) -> Plan:
    ran = subprocess.run(
        stacks.pulumi("preview", "--json", "--stack", stack.reference, "--non-interactive"),
        cwd=stack.root,
        env=stack.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        parsed = json.loads(ran.stdout)
        found = parsed if isinstance(parsed, dict) else {}
    made = plan.plan(found)
    if ran.returncode != 0 and not made.errors:
        said = ran.stderr.strip()
        return Plan((), (said[said.find("error: ") :].removeprefix("error: ") or "the engine didn't say why",))
    return made if ran.returncode != 0 else Plan(made.steps)


def _git(root: Path, *arguments: str) -> str | None:
    ran = subprocess.run(["git", *arguments], cwd=root, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return ran.stdout if ran.returncode == 0 else None


def _commit(root: Path, base: str) -> str:
    """Where the change began: what `base` and HEAD have in common, so that others' work on `base` isn't this one's."""
    try:
        commit = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{base}^{{commit}}")
    except OSError:
        raise StackError("BASE needs git, which isn't there") from None
    if not commit:
        raise StackError(f"BASE: git knows no {base} here; fetch it first (in a workflow: fetch-depth: 0)")
    return (_git(root, "merge-base", commit.strip(), "HEAD") or commit).strip()


def _at(stack: Stack, commit: str) -> Declared:
    """The config of that commit; an empty one where it had none, or one that can't be read."""
    text = _git(stack.root, "show", f"{commit}:./Pulumi.{stack.name}.yaml")
    try:
        found = yaml.safe_load(text or "")
    except yaml.YAMLError:
        found = None
    return declared.declared(found if isinstance(found, dict) else {})


def _code(root: Path, commit: str) -> frozenset[Key]:
    changed = _git(root, "diff", "--name-only", "--relative", commit, "--", *CODE) or ""
    added = _git(root, "ls-files", "--others", "--exclude-standard", "--", *CODE) or ""
    return frozenset({("", "code")}) if (changed + added).strip() else frozenset()


def _last_used(stack: Stack, resources: list[dict[str, Any]]) -> Mapping[str, float | None] | None:
    """When each URL last took a delivery, by its token's hash; None where the stack can't be asked."""
    if not resources:
        return {}
    try:
        made = endpoints.of(stack.outputs())
        found = places.of(stack).status(made, resources)
    except (StackError, control.ControlError, control.ReceiverDown, ResourceError, OSError):
        return None
    except Exception as error:
        if type(error).__module__.partition(".")[0] in ("boto3", "botocore"):  # no credentials here, say
            return None
        raise
    down = [its for its in found.states.values() if its == "receiver down"]
    return None if down else found.last_used


def _left(stack: Stack) -> list[str]:
    left = [f"an `up` was interrupted: {what}" for what in stack.pending()]
    if not left and (failed := stack.failed()):
        left = [f"the last {failed} failed, and what it left to do is done now"]
    return left
