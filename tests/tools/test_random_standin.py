"""The stand-in for the random plugin, by direct calls; the engine tests run it where the real one isn't."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.rpc import UNKNOWN

from tools.engine.random_standin import password

URN = f"urn:pulumi:dev::sluice::sluice:index:Integration${password.PASSWORD}::stitch_customerio-token-primary"
ARGS: dict[str, Any] = {"length": 43.0, "special": False, "keepers": {"version": "1"}}


def wire(value: Any) -> PropertyValue:
    if isinstance(value, Mapping):
        return PropertyValue({key: wire(item) for key, item in value.items()})
    return PropertyValue(value)


def wires(values: Mapping[str, Any]) -> dict[str, PropertyValue]:
    return {key: wire(value) for key, value in values.items()}


def create(inputs: Mapping[str, Any], preview: bool = False) -> api.CreateResponse:
    request = api.CreateRequest(URN, wires(inputs), 0, preview)
    return asyncio.run(password.RandomPasswordProvider().create(request))


def test_a_password_has_the_length_and_only_the_letters_asked_for() -> None:
    made = password.password({"length": 5000.0, "special": False})
    assert len(made) == 5000
    assert set(made) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
    assert set(password.password({"length": 3000, "special": False, "upper": False, "number": False})) == set(
        "abcdefghijklmnopqrstuvwxyz"
    )


def test_two_passwords_differ() -> None:
    assert password.password(ARGS) != password.password(ARGS)


def test_the_result_is_secret_and_the_id_says_nothing() -> None:
    made = create(ARGS)
    assert made.resource_id == "none"
    assert made.properties["result"].is_secret
    assert [name for name, value in made.properties.items() if value.is_secret] == ["result"]
    assert made.properties["upper"].value is True


def test_a_preview_makes_none() -> None:
    result = create(ARGS, preview=True).properties["result"]
    assert (result.value, result.is_secret) == (UNKNOWN, True)


def test_a_refresh_keeps_the_result_secret() -> None:
    held = wires({**ARGS, "result": "x" * 43})  # the engine may hand it over without its mark
    request = api.ReadRequest(URN, "none", held, wires(ARGS))
    read = asyncio.run(password.RandomPasswordProvider().read(request))
    assert read.properties["result"].is_secret
    assert read.properties["result"].value == "x" * 43


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (ARGS, {}),
        (ARGS | {"upper": True, "numeric": True, "number": True}, {}),
        (ARGS | {"keepers": {"version": "1", "other": None}}, {}),
        (ARGS | {"keepers": {"version": "2"}}, {"keepers.version": "update"}),
        (ARGS | {"keepers": {"version": UNKNOWN}}, {"keepers.version": "update"}),
        (ARGS | {"keepers": UNKNOWN}, {"keepers": "update"}),
        (ARGS | {"keepers": {}}, {"keepers.version": "delete"}),
        (ARGS | {"keepers": {"version": "1", "a.b": "x"}}, {'keepers["a.b"]': "add"}),
        (ARGS | {"length": 44.0}, {"length": "update"}),
        (ARGS | {"special": True}, {"special": "update"}),
        (ARGS | {"upper": False}, {"upper": "update"}),
    ],
)
def test_a_changed_argument_replaces_and_nothing_else_does(new: dict[str, Any], expected: dict[str, str]) -> None:
    request = api.DiffRequest(URN, "none", create(ARGS).properties, wires(new), [])
    found = asyncio.run(password.RandomPasswordProvider().diff(request))
    kinds = {"add": "ADD_REPLACE", "delete": "DELETE_REPLACE", "update": "UPDATE_REPLACE"}
    assert {path: change.kind.name for path, change in found.detailed_diff.items()} == {
        path: kinds[kind] for path, kind in expected.items()
    }
    assert found.changes == bool(expected) == bool(found.replaces)
    assert not found.delete_before_replace


def check(type: str, inputs: Mapping[str, Any]) -> list[str]:
    request = api.CheckRequest(f"urn:pulumi:dev::sluice::{type}::x", {}, wires(inputs), b"")
    answered = asyncio.run(password.RandomPasswordProvider().check(request))
    return [failure.property for failure in answered.failures or []]


def test_what_is_used_passes_and_unknown_values_do() -> None:
    assert check(password.PASSWORD, ARGS) == []
    assert check(password.PASSWORD, ARGS | {"length": UNKNOWN, "special": UNKNOWN, "minLower": 0.0}) == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"minLower": 3.0}, "minLower"),
        ({"overrideSpecial": "_"}, "overrideSpecial"),
        ({"length": 0.0}, "length"),
        ({"length": 1.5}, "length"),
        ({"length": "many"}, "length"),
        ({"special": "no"}, "special"),
        ({"upper": False, "lower": False, "numeric": False}, "special"),
    ],
)
def test_what_it_does_not_implement_is_refused_by_name(wrong: dict[str, Any], named: str) -> None:
    assert check(password.PASSWORD, ARGS | wrong) == [named]


def test_any_other_resource_is_refused() -> None:
    assert check("random:index/randomId:RandomId", {"byteLength": 8.0}) == [""]


def test_an_import_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="install the real plugin"):
        asyncio.run(password.RandomPasswordProvider().read(api.ReadRequest(URN, "secret", {}, {})))
