"""A provider's methods, called as the engine calls them for the resources of a stack; without the engine."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.property_value import PropertyValue

from tests.aws.standin.provider import plain, wire

Values = dict[str, PropertyValue]
Given = Mapping[str, Any]
UNCHANGED: Given = {}
PATIENCE_S = 60


@dataclass(frozen=True)
class Made:
    """A resource as the engine's state has it; `declared` is what its program says."""

    urn: str
    identity: str
    declared: Values
    inputs: Values
    state: Values

    def __getitem__(self, name: str) -> Any:
        return plain(self.state[name])


def values(given: Given) -> Values:
    return {name: value if isinstance(value, PropertyValue) else wire(value) for name, value in given.items()}


class Calls:
    def __init__(self, provider: api.Provider) -> None:
        self.provider = provider

    def configure(self, **args: Any) -> None:
        asyncio.run(self.provider.configure(api.ConfigureRequest({}, values(args), True, False)))

    def check(self, kind: str, given: Given, name: str = "it", had: Values | None = None) -> tuple[Values, list[str]]:
        """The inputs as the provider completes them, and its reasons to refuse them."""
        request = api.CheckRequest(urn_of(kind, name), had or {}, values(given), secrets.token_bytes(32))
        answer = asyncio.run(self.provider.check(request))
        return answer.inputs or {}, [failure.reason for failure in answer.failures or []]

    def create(self, kind: str, given: Given, name: str = "it") -> Made:
        """As a preview and then an `up` do it."""
        inputs, reasons = self.check(kind, given, name)
        assert reasons == []
        urn = urn_of(kind, name)
        previewed = asyncio.run(self.provider.create(api.CreateRequest(urn, inputs, PATIENCE_S, preview=True)))
        made = asyncio.run(self.provider.create(api.CreateRequest(urn, inputs, PATIENCE_S, preview=False)))
        assert made.resource_id
        assert made.properties
        assert (previewed.properties or {}).keys() >= inputs.keys(), "a preview shows what is declared"
        return Made(urn, made.resource_id, values(given), inputs, made.properties)

    def diff(self, made: Made, changed: Given = UNCHANGED, ignore: tuple[str, ...] = ()) -> api.DiffResponse:
        """What the provider says to the program as it was, but for `changed`."""
        request = api.DiffRequest(made.urn, made.identity, made.state, self._inputs(made, changed), list(ignore))
        return asyncio.run(self.provider.diff(request))

    def _inputs(self, made: Made, changed: Given) -> Values:
        kind, name = made.urn.split("::")[-2:]
        inputs, reasons = self.check(kind, {**made.declared, **changed}, name, made.inputs)
        assert reasons == []
        return inputs

    def changes(self, made: Made, changed: Given = UNCHANGED) -> list[str]:
        """The paths that an `up` would change, as the engine's events name them."""
        return sorted(self.diff(made, changed).detailed_diff or {})

    def update(self, made: Made, changed: Given = UNCHANGED) -> Made:
        """As an `up` does it where the diff asks for no replacement; nothing is to be changed after it."""
        assert not self.diff(made, changed).replaces
        inputs = self._inputs(made, changed)
        for preview in (True, False):
            request = api.UpdateRequest(made.urn, made.identity, made.state, inputs, PATIENCE_S, [], preview)
            answer = asyncio.run(self.provider.update(request))
        done = replace(made, declared=made.declared | values(changed), inputs=inputs, state=answer.properties)
        assert self.changes(done) == []
        return done

    def refreshed(self, made: Made) -> Made | None:
        """What a refresh makes of it: None where it is gone."""
        request = api.ReadRequest(made.urn, made.identity, made.state, made.inputs)
        answer = asyncio.run(self.provider.read(request))
        if not answer.resource_id:
            return None
        return replace(made, identity=answer.resource_id, inputs=answer.inputs or {}, state=answer.properties or {})

    def imported(self, kind: str, identity: str, given: Given) -> Made:
        """As an `up` does it first for a resource with the option `import`."""
        urn = urn_of(kind, "it")
        answer = asyncio.run(self.provider.read(api.ReadRequest(urn, identity, {}, {})))
        assert answer.resource_id, f"{kind} {identity} isn't there"
        return Made(urn, answer.resource_id, values(given), answer.inputs or {}, answer.properties or {})

    def delete(self, made: Made) -> None:
        asyncio.run(self.provider.delete(api.DeleteRequest(made.urn, made.identity, made.state, PATIENCE_S)))


def urn_of(kind: str, name: str) -> str:
    """`kind` may have its `aws:` or not."""
    return f"urn:pulumi:dev::standin::{kind if kind.startswith('aws:') else f'aws:{kind}'}::{name}"
