"""The plugin's three rules: what differs is named, secrets stay wrapped, errors are sentences."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    CheckRequest,
    CreateRequest,
    DiffRequest,
    PropertyDiffKind,
    ReadRequest,
    UpdateRequest,
)
from pulumi.runtime.rpc import UNKNOWN

from provider import plugin
from provider.resource import Context, Properties, Resource, ResourceError
from provider.serve import sentence

URN = "urn:pulumi:dev::sluice::sluice:index:Integration$sluice:index:Thing::a-thing"


class Thing(Resource):
    token = "sluice:index:Thing"
    secrets: ClassVar = frozenset({"key"})
    replaces: ClassVar = frozenset({"hash"})
    outputs: ClassVar = frozenset({"address"})

    async def check(self, context: Context, inputs: Properties) -> Properties:
        if inputs.get("size") == 0:
            raise ResourceError("a size below 1")
        return {**inputs, "added": "by check"}

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        return "id", {**inputs, "address": "here"}

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        return {**inputs, "address": "here"}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        return None if state.get("gone") else {**state, "key": "read again"}


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> plugin.SluiceProvider:
    monkeypatch.setitem(plugin.RESOURCES, Thing.token, Thing())

    async def say(urn: str, message: str, warning: bool) -> None:
        return None

    return plugin.SluiceProvider(Path("/nowhere"), say)


def values(**properties: Any) -> dict[str, PropertyValue]:
    return plugin._wire_map(properties, Thing.secrets)


def diff(provider: plugin.SluiceProvider, old: dict[str, Any], new: dict[str, Any]) -> Any:
    return asyncio.run(provider.diff(DiffRequest(URN, "id", values(**old), values(**new), [])))


def test_a_change_is_named_by_its_path(provider: plugin.SluiceProvider) -> None:
    old = {"hash": "a", "views": {"one": "1", "two": "2", "three": "3"}, "list": [1], "address": "here"}
    new = {"hash": "a", "views": {"one": "1", "two": "X", "four": "4"}, "list": [1, 2]}
    found = diff(provider, old, new)
    assert found.changes
    assert found.replaces == []
    assert {path: change.kind for path, change in found.detailed_diff.items()} == {
        "views.two": PropertyDiffKind.UPDATE,
        "views.three": PropertyDiffKind.DELETE,
        "views.four": PropertyDiffKind.ADD,
        "list": PropertyDiffKind.UPDATE,
    }


def test_an_output_is_no_difference_and_an_input_that_was_taken_out_is_one(provider: plugin.SluiceProvider) -> None:
    assert not diff(provider, {"hash": "a", "address": "here"}, {"hash": "a"}).changes
    assert list(diff(provider, {"hash": "a", "url": "x"}, {"hash": "a"}).detailed_diff) == ["url"]


def test_an_unknown_input_that_replaces_shows_a_replacement_created_first(provider: plugin.SluiceProvider) -> None:
    found = diff(provider, {"hash": "a"}, {"hash": UNKNOWN})
    assert found.replaces == ["hash"]
    assert not found.delete_before_replace
    assert found.detailed_diff["hash"].kind == PropertyDiffKind.UPDATE_REPLACE


def test_no_resource_goes_before_its_replacement_is_made() -> None:
    assert [token for token, made in plugin.RESOURCES.items() if made.delete_before_replace] == []


def test_a_secrets_mark_alone_is_no_difference(provider: plugin.SluiceProvider) -> None:
    plain = {"key": PropertyValue("k")}
    found = asyncio.run(provider.diff(DiffRequest(URN, "id", plain, values(key="k"), [])))
    assert not found.changes


def test_secrets_are_wrapped_in_every_answer(provider: plugin.SluiceProvider) -> None:
    plain = {"key": PropertyValue("k"), "hash": PropertyValue("a")}
    answers = [
        asyncio.run(provider.create(CreateRequest(URN, plain, 0, preview))).properties for preview in (True, False)
    ]
    answers += [
        asyncio.run(provider.update(UpdateRequest(URN, "id", plain, plain, 0, [], preview))).properties
        for preview in (True, False)
    ]
    answers.append(asyncio.run(provider.read(ReadRequest(URN, "id", plain, plain))).properties)
    assert [answer["key"].is_secret for answer in answers] == [True] * 5
    assert not any(answer["hash"].is_secret for answer in answers)


def test_a_previewed_creation_leaves_its_outputs_unknown_and_a_previewed_update_keeps_them(
    provider: plugin.SluiceProvider,
) -> None:
    created = asyncio.run(provider.create(CreateRequest(URN, values(hash="a"), 0, True))).properties
    assert created["address"].value == UNKNOWN
    old = values(hash="a", address="here")
    updated = asyncio.run(provider.update(UpdateRequest(URN, "id", old, values(hash="a"), 0, [], True))).properties
    assert updated["address"].value == "here"


def test_a_mistake_in_an_input_is_a_check_failure(provider: plugin.SluiceProvider) -> None:
    answer = asyncio.run(provider.check(CheckRequest(URN, {}, values(size=0), b"")))
    assert [failure.reason for failure in answer.failures or []] == ["a size below 1"]
    good = asyncio.run(provider.check(CheckRequest(URN, {}, values(size=1), b"")))
    assert good.inputs is not None
    assert good.inputs["added"].value == "by check"


def test_what_is_gone_is_read_as_nothing(provider: plugin.SluiceProvider) -> None:
    gone = asyncio.run(provider.read(ReadRequest(URN, "id", values(gone=True), values())))
    assert gone.resource_id == ""


def test_numbers_and_nested_values_survive_the_way_to_the_wire_and_back() -> None:
    plain = {"a": 1, "b": [1, 2.5, "x", True], "c": {"d": {"e": 3}}}
    assert plugin._plain_map(plugin._wire_map(plain, frozenset())) == plain


def wrapped(error: Exception) -> Exception:
    """As the SDK raises it."""
    try:
        try:
            raise error
        except Exception as inner:
            raise Exception(f"{inner}:\n  File /a/path, line 1") from None
    except Exception as outer:
        return outer


def test_an_error_reaches_the_user_as_its_sentence_without_a_traceback() -> None:
    assert sentence(wrapped(ResourceError("the port is taken"))) == "the port is taken"
    full = OSError(28, "No space left on device", "/a/file")
    assert sentence(wrapped(full)) == "No space left on device: /a/file"
    assert "database or disk is full" in sentence(wrapped(sqlite3.OperationalError("database or disk is full")))
    unexpected = sentence(wrapped(KeyError("x")))
    assert unexpected.startswith("unexpected KeyError in the provider at test_plugin.py:")
    assert "\n" not in unexpected
