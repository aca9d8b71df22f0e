"""The stand-in for the random plugin and the real one, by the same cases, as the engine calls them: over gRPC.

The stand-in is built where there is Go; the real plugin is asked where it is installed. What the real one does beyond
RandomPassword, and its wording, is no part of the contract.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime.proto import provider_pb2 as proto
from pulumi.runtime.proto.provider_pb2_grpc import ResourceProviderStub
from pulumi.runtime.rpc import UNKNOWN

from tests.support.waiting import until
from tools.engine import build, engine, plugins

PASSWORD = "random:index/randomPassword:RandomPassword"
URN = f"urn:pulumi:dev::sluice::sluice:index:Integration${PASSWORD}::stitch_customerio-token-primary"
ARGS: dict[str, Any] = {"length": 43.0, "special": False, "keepers": {"version": "1"}}
MARK = "4dabf18193072939515e22adb298388d"
IS_SECRET = "1b47061264138c4ac30d75fd1eb44270"


@pytest.fixture(scope="module")
def executable() -> Path:
    """The stand-in's, as `make` builds it."""
    kept = engine.cache(os.environ)
    kept.mkdir(parents=True, exist_ok=True)
    try:
        return build.standin(plugins.pinned("random"), kept, os.environ) / "pulumi-resource-random"
    except build.CannotBuild as error:
        pytest.skip(str(error))


@contextmanager
def served(executable: Path) -> Iterator[ResourceProviderStub]:
    with subprocess.Popen([executable], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with grpc.insecure_channel(f"127.0.0.1:{int(process.stdout.readline())}") as channel:
                provider = ResourceProviderStub(channel)
                answered = provider.Configure(proto.ConfigureRequest(acceptSecrets=True, acceptResources=True))
                assert answered.acceptSecrets
                yield provider
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def standin(executable: Path) -> Iterator[ResourceProviderStub]:
    with served(executable) as provider:
        yield provider


@pytest.fixture(scope="module", params=["the stand-in", "the real plugin"])
def provider(request: pytest.FixtureRequest) -> Iterator[ResourceProviderStub]:
    if request.param == "the stand-in":
        yield request.getfixturevalue("standin")
        return
    version = plugins.pinned("random")
    real = plugins.executable("random", version, os.environ)
    if real is None:
        pytest.skip(f"the random plugin {version} isn't installed")
    with served(real) as plugin:
        yield plugin


def wire(values: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def secret(value: Any) -> dict[str, Any]:
    return {MARK: IS_SECRET, "value": value}


def checked(provider: ResourceProviderStub, arguments: Mapping[str, Any]) -> Struct:
    """The arguments as the engine hands them on: as `check` gave them back."""
    answered = provider.Check(proto.CheckRequest(urn=URN, type=PASSWORD, news=wire(arguments)))
    assert not answered.failures
    return answered.inputs


def made(
    provider: ResourceProviderStub, arguments: Mapping[str, Any] = ARGS, *, preview: bool = False
) -> proto.CreateResponse:
    properties = checked(provider, arguments)
    return provider.Create(proto.CreateRequest(urn=URN, type=PASSWORD, properties=properties, preview=preview))


def result(properties: Struct) -> str:
    """The password among a resource's properties, which must be secret."""
    held = properties["result"]
    assert held[MARK] == IS_SECRET
    return str(held["value"])


def difference(provider: ResourceProviderStub, new: Mapping[str, Any]) -> proto.DiffResponse:
    """What differs between a password of ARGS and what is wanted now."""
    old = made(provider)
    return provider.Diff(
        proto.DiffRequest(
            urn=URN, type=PASSWORD, id=old.id, olds=old.properties, news=checked(provider, new),
            old_inputs=checked(provider, ARGS),
        )
    )  # fmt: skip


def mistakes(provider: ResourceProviderStub, type: str, arguments: Mapping[str, Any]) -> list[tuple[str, str]]:
    urn = f"urn:pulumi:dev::sluice::sluice:index:Integration${type}::x"
    answered = provider.Check(proto.CheckRequest(urn=urn, type=type, news=wire(arguments)))
    return [(failure.property, failure.reason) for failure in answered.failures]


def test_it_says_the_version_that_the_python_package_goes_with(provider: ResourceProviderStub) -> None:
    assert provider.GetPluginInfo(Empty()).version.removeprefix("v") == plugins.pinned("random")


def test_a_password_has_the_length_and_only_the_letters_asked_for(provider: ResourceProviderStub) -> None:
    lower = "abcdefghijklmnopqrstuvwxyz"
    long = result(made(provider, {"length": 5000.0, "special": False}).properties)
    assert len(long) == 5000
    assert set(long) == {*lower, *lower.upper(), *"0123456789"}
    some = {"length": 3000.0, "special": False, "upper": False, "number": False}
    assert set(result(made(provider, some).properties)) == {*lower}


def test_two_passwords_differ(provider: ResourceProviderStub) -> None:
    assert result(made(provider).properties) != result(made(provider).properties)


def test_the_result_is_secret_and_stands_nowhere_else(provider: ResourceProviderStub) -> None:
    answered = made(provider)
    assert answered.id == "none"
    assert str(answered).count(result(answered.properties)) == 1
    assert answered.properties["upper"] is True


def test_a_preview_makes_none(provider: ResourceProviderStub) -> None:
    assert result(made(provider, preview=True).properties) == UNKNOWN


@pytest.mark.parametrize("marked", [True, False])
def test_a_refresh_keeps_the_result_secret(provider: ResourceProviderStub, marked: bool) -> None:
    """The engine may hand it over without its mark."""
    before = made(provider)
    held = Struct()
    held.CopyFrom(before.properties)
    if not marked:
        held["result"] = result(before.properties)
    asked = proto.ReadRequest(urn=URN, type=PASSWORD, id="none", properties=held, inputs=checked(provider, ARGS))
    answered = provider.Read(asked)
    assert answered.id == "none"
    assert result(answered.properties) == result(before.properties)


@pytest.mark.parametrize(
    ("new", "name"),
    [
        (ARGS, None),
        (ARGS | {"upper": True, "numeric": True, "number": True}, None),
        (ARGS | {"keepers": {"version": "1", "other": None}}, None),
        (ARGS | {"keepers": secret({"version": "1"})}, None),
        (ARGS | {"keepers": {"version": "2"}}, "keepers"),
        (ARGS | {"keepers": {"version": UNKNOWN}}, "keepers"),
        (ARGS | {"keepers": UNKNOWN}, "keepers"),
        (ARGS | {"keepers": {}}, "keepers"),
        (ARGS | {"keepers": {"version": "1", "a.b": "x"}}, "keepers"),
        (ARGS | {"length": 44.0}, "length"),
        (ARGS | {"special": True}, "special"),
        (ARGS | {"upper": False}, "upper"),
    ],
)
def test_a_changed_argument_replaces_and_nothing_else_does(
    provider: ResourceProviderStub, new: dict[str, Any], name: str | None
) -> None:
    found = difference(provider, new)
    assert {path.split(".")[0].split("[")[0] for path in found.replaces} == ({name} if name else set())
    assert (found.changes == proto.DiffResponse.DIFF_SOME) == (name is not None)
    assert not found.deleteBeforeReplace


@pytest.mark.parametrize(
    ("keepers", "path", "kind"),
    [
        ({"version": "2"}, "keepers.version", "UPDATE_REPLACE"),
        (UNKNOWN, "keepers", "UPDATE_REPLACE"),
        ({}, "keepers.version", "DELETE_REPLACE"),
        ({"version": "1", "a.b": "x"}, 'keepers["a.b"]', "ADD_REPLACE"),
    ],
)
def test_the_engine_can_show_which_keeper_it_was(
    standin: ResourceProviderStub, keepers: object, path: str, kind: str
) -> None:
    found = difference(standin, ARGS | {"keepers": keepers})
    assert {path: proto.PropertyDiff.Kind.Name(change.kind) for path, change in found.detailedDiff.items()} == {
        path: kind
    }


def test_what_is_used_passes_and_unknown_values_do(provider: ResourceProviderStub) -> None:
    assert mistakes(provider, PASSWORD, ARGS) == []
    assert mistakes(provider, PASSWORD, ARGS | {"length": UNKNOWN, "special": UNKNOWN, "minLower": 0.0}) == []


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
def test_what_it_does_not_implement_is_refused_by_name(
    standin: ResourceProviderStub, wrong: dict[str, Any], named: str
) -> None:
    assert [name for name, _ in mistakes(standin, PASSWORD, ARGS | wrong)] == [named]


def test_any_other_resource_is_refused(standin: ResourceProviderStub) -> None:
    [(name, reason)] = mistakes(standin, "random:index/randomId:RandomId", {"byteLength": 8.0})
    assert (name, "has no random:index/randomId:RandomId" in reason) == ("", True)


def test_an_import_is_refused(standin: ResourceProviderStub) -> None:
    with pytest.raises(grpc.RpcError, match="install the real plugin"):
        standin.Read(proto.ReadRequest(urn=URN, type=PASSWORD, id="a password"))


def test_it_ends_when_the_engine_that_started_it_is_gone(executable: Path, tmp_path: Path) -> None:
    engine = '"$1" >"$2" & until [ -s "$2" ]; do sleep 0.05; done; echo $!'
    said = subprocess.run(
        ["sh", "-c", engine, "engine", executable, tmp_path / "port"],
        stdout=subprocess.PIPE, text=True, check=True, timeout=30,
    )  # fmt: skip
    standin = int(said.stdout)

    def is_gone() -> bool:
        try:
            return psutil.Process(standin).status() == psutil.STATUS_ZOMBIE  # where nobody reaps orphans
        except psutil.NoSuchProcess:
            return True

    until(is_gone, 30, what="the stand-in has ended")
