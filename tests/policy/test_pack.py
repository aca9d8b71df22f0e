"""What the policies make of a stack's file and of the state; the rules themselves are in test_rules."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pulumi_policy import PolicyResource, PolicyResourceOptions, ResourceValidationArgs, StackValidationArgs
from pulumi_policy.policy import PolicyCustomTimeouts
from pulumi_policy.policy import _NotApplicableError as NotApplicable
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

from policy import recorded, rules
from policy.pack import POLICIES, stack_of
from policy.rules import Recorded

URN = f"urn:pulumi:prod::sluice::sluice:index:Integration${rules.PASSWORD}::billing-token-primary"
OPTIONS = PolicyResourceOptions(False, [], None, [], PolicyCustomTimeouts(0, 0, 0), [])


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """What a policy about the stack `prod` says, by the stack's file and by the age of its one token, of version 1."""

    def say(name: str, config: dict[str, Any], *, days: float | None = None, version: str = "1") -> list[str]:
        made = None if days is None else datetime.now(UTC) - timedelta(days=days)
        token = Recorded(URN, rules.PASSWORD, {"keepers": {"version": "1"}}, made=made)
        monkeypatch.setattr(recorded, "settings", lambda stack: config if stack == "prod" else {})
        monkeypatch.setattr(recorded, "state", lambda stack: (token,))
        props = {"keepers": {"version": version}}
        resource = PolicyResource(rules.PASSWORD, props, URN, "billing-token-primary", OPTIONS, None, None, [], {})
        (policy,) = [each for each in POLICIES if each.name == name]
        found: list[str] = []
        policy.validate(StackValidationArgs([resource]), lambda message, urn=None: found.append(message))  # type: ignore[attr-defined]
        return found

    return say


def test_a_token_may_be_as_old_as_the_stack_allows(said: Callable[..., list[str]]) -> None:
    allowed = {"policy:maxTokenAgeDays": 90}
    assert said("tokens-are-rotated", allowed, days=90.9) == []
    (old,) = said("tokens-are-rotated", allowed, days=91)
    assert "91 days" in old
    assert len(said("tokens-are-rotated", {"policy:maxTokenAgeDays": "90"}, days=91)) == 1
    assert said("tokens-are-rotated", {}, days=9000) == []


def test_a_token_that_is_rotated_or_of_unknown_age_is_not_too_old(said: Callable[..., list[str]]) -> None:
    allowed = {"policy:maxTokenAgeDays": 90}
    assert said("tokens-are-rotated", allowed, days=9000, version="2") == []
    assert said("tokens-are-rotated", allowed, days=None) == []


@pytest.mark.parametrize("value", ["soon", 0, -1, True, 1.5, {"secure": "v1:x"}])
def test_an_age_that_is_none_is_told_and_not_shown(said: Callable[..., list[str]], value: Any) -> None:
    assert said("tokens-are-rotated", {"policy:maxTokenAgeDays": value}, days=9000) == [
        "policy:maxTokenAgeDays must be a whole number of days, 1 or more"
    ]


def test_a_misspelt_key_is_told(said: Callable[..., list[str]]) -> None:
    (found,) = said("tokens-are-rotated", {"policy:maxTokenAge": 90}, days=9000)
    assert found.startswith("there is no policy:maxTokenAge;")


def test_a_stack_that_may_lose_its_data_says_so(said: Callable[..., list[str]]) -> None:
    assert said("data-settings", {"sluice:platform": "aws"}) == []
    assert said("data-settings", {"sluice:platform": "aws", "sluice:protect": True, "sluice:destroyData": False}) == []
    assert len(said("data-settings", {"sluice:platform": "local", "sluice:protect": False})) == 0
    assert len(said("data-settings", {"sluice:platform": "aws", "sluice:protect": "false"})) == 1
    assert len(said("data-settings", {"sluice:destroyData": "true"})) == 1


def test_a_state_that_cannot_be_read_is_a_fault_and_no_pass(
    said: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(stack: str) -> None:
        raise recorded.NoState("no access")

    said("data-settings", {})
    monkeypatch.setattr(recorded, "state", refuse)
    (policy,) = [each for each in POLICIES if each.name == "data-is-not-dropped"]
    resource = PolicyResource(rules.PASSWORD, {}, URN, "billing-token-primary", OPTIONS, None, None, [], {})
    found: list[str] = []
    policy.validate(StackValidationArgs([resource]), lambda message, urn=None: found.append(message))  # type: ignore[attr-defined]
    assert found == ["no access"]


def test_the_stacks_file_is_read_as_it_is(tmp_path: Path) -> None:
    assert recorded.settings("prod", tmp_path) == {}
    (tmp_path / "Pulumi.other.yaml").write_text("config:\n  sluice:protect: false\n  sluice:x: {secure: v1:abc}\n")
    assert recorded.settings("other", tmp_path) == {"sluice:protect": False, "sluice:x": {"secure": "v1:abc"}}


def test_the_stack_is_known_by_the_urn_and_the_engines_variables() -> None:
    assert stack_of(URN) == "prod"
    engines = {"PULUMI_ORGANIZATION": "acme", "PULUMI_PROJECT": "sluice"}
    assert recorded.qualified("prod", engines) == "acme/sluice/prod"
    assert recorded.qualified("prod", {"PULUMI_PROJECT": "sluice"}) == "prod"


def faults(name: str, type_: str, **props: Any) -> list[str]:
    """What a policy about resources says of one with those properties."""
    (policy,) = [each for each in POLICIES if each.name == name]
    found: list[str] = []
    proxied = unknown_checking_proxy(props)
    args = ResourceValidationArgs(type_, proxied, URN, "it", OPTIONS, None)
    policy.validate(args, lambda message, urn=None: found.append(message))  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("type_", "key"),
    [
        ("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "policyArn"),
        ("aws:iam/rolePolicyAttachmentsExclusive:RolePolicyAttachmentsExclusive", "policyArns"),
        ("aws:iam/role:Role", "managedPolicyArns"),
    ],
)
def test_what_is_attached_by_arn_is_looked_at_too(type_: str, key: str) -> None:
    administrator = "arn:aws:iam::aws:policy/AdministratorAccess"
    given: Any = administrator if key == "policyArn" else [administrator]
    trust = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "x"}}]}
    (fault,) = faults("access-is-named", type_, **{key: given, "assumeRolePolicy": trust})
    assert "a policy that AWS keeps" in fault


def test_a_policy_of_what_is_not_known_yet_waits() -> None:
    for arn in (UNKNOWN_STRING_VALUE, [UNKNOWN_STRING_VALUE]):
        with pytest.raises(NotApplicable):
            faults("access-is-named", "aws:iam/rolePolicyAttachment:RolePolicyAttachment", policyArn=arn)
