"""A stand-in for Pulumi's random plugin where that can't be downloaded: it makes `RandomPassword`s and nothing else.

It follows the real plugin (4.21.4) in all that Sluice relies on: a secret `result`, the id `none`, and a
replacement whenever an argument changes. What it doesn't implement it refuses, so that a program never gets
something else than it asked for.
"""

import json
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pulumi_random
from pulumi.provider.experimental import provider as api
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.runtime.rpc import UNKNOWN

from provider.serve import serve

PASSWORD = "random:index/randomPassword:RandomPassword"  # noqa: S105 (a type's name)
ID = "none"
"""The real plugin's id of every RandomPassword; an id can't be secret, so it must not hold the value."""

CHARACTERS = {
    "upper": string.ascii_uppercase,
    "lower": string.ascii_lowercase,
    "numeric": string.digits,
    "special": "!@#$%&*()-_=+[]{}<>:?",
}
"""What each switch lets into the password; all are on unless switched off (pulumi-random, RandomPassword)."""

KNOWN = {"length", "keepers", "number", *CHARACTERS}


def mistakes(inputs: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong with a RandomPassword's inputs, as (property, reason) pairs; unknown values pass."""
    found = []
    for name, value in inputs.items():
        if name not in KNOWN and value not in (None, 0, 0.0):
            found.append((name, "the stand-in for the random plugin doesn't implement this argument"))
        elif name in CHARACTERS and not (value is None or isinstance(value, bool) or value == UNKNOWN):
            found.append((name, "must be true or false"))
    length = inputs.get("length")
    if length != UNKNOWN and not (isinstance(length, int | float) and length >= 1 and length == int(length)):
        found.append(("length", "must be a whole number of at least 1"))
    if not any(settled(inputs)[switch] for switch in CHARACTERS):
        found.append(("special", f"one of {', '.join(CHARACTERS)} must be true"))
    return found


def settled(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with their defaults filled in: what two sets of them are compared by."""
    numeric = inputs.get("numeric")
    numeric = inputs.get("number") if numeric is None else numeric  # its older name
    switches = {name: inputs.get(name) for name in CHARACTERS} | {"numeric": numeric}
    # The real plugin doesn't replace for an empty map or a key without a value.
    keepers = inputs.get("keepers") or {}
    if isinstance(keepers, Mapping):
        keepers = {key: value for key, value in keepers.items() if value is not None}
    return {
        "length": inputs.get("length"),
        "keepers": keepers,
        **{name: True if value is None else value for name, value in switches.items()},
    }


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, str]:
    """Each property path that differs, with "add", "delete" or "update"; any of them replaces the password."""
    before, after = settled(old), settled(new)
    found = {name: "update" for name in before if name != "keepers" and before[name] != after[name]}
    kept, wanted = before["keepers"], after["keepers"]
    if not isinstance(kept, Mapping) or not isinstance(wanted, Mapping):  # the whole map is unknown
        return found | ({"keepers": "update"} if kept != wanted else {})
    for key in sorted({*kept, *wanted}):
        path = f"keepers.{key}" if key.replace("_", "").isalnum() else f"keepers[{json.dumps(key)}]"
        if key not in kept:
            found[path] = "add"
        elif key not in wanted:
            found[path] = "delete"
        elif kept[key] != wanted[key]:
            found[path] = "update"
    return found


def password(inputs: Mapping[str, Any]) -> str:
    """A new password from the system's randomness."""
    arguments = settled(inputs)
    alphabet = "".join(letters for switch, letters in CHARACTERS.items() if arguments[switch])
    return "".join(secrets.choice(alphabet) for _ in range(int(arguments["length"])))


def plain(value: PropertyValue) -> Any:
    """A property's value as plain Python: dict, list, str, float, bool or None."""
    if isinstance(value.value, Mapping):
        return {key: plain(item) for key, item in value.value.items()}
    if isinstance(value.value, tuple):
        return [plain(item) for item in value.value]
    return value.value


def _plain_map(values: Mapping[str, PropertyValue]) -> dict[str, Any]:
    return {key: plain(value) for key, value in values.items()}


class RandomPasswordProvider(api.Provider):
    """The provider protocol's methods around the functions above."""

    async def check(self, request: api.CheckRequest) -> api.CheckResponse:
        if request.type.split("$")[-1] != PASSWORD:
            return api.CheckResponse(
                inputs=request.new_inputs,
                failures=[
                    api.CheckFailure(
                        "", f"the stand-in for the random plugin has no {request.type}; install the real plugin"
                    )
                ],
            )
        failures = [api.CheckFailure(*mistake) for mistake in mistakes(_plain_map(request.new_inputs))]
        return api.CheckResponse(inputs=request.new_inputs, failures=failures)

    async def diff(self, request: api.DiffRequest) -> api.DiffResponse:
        kinds = {
            "add": api.PropertyDiffKind.ADD_REPLACE,
            "delete": api.PropertyDiffKind.DELETE_REPLACE,
            "update": api.PropertyDiffKind.UPDATE_REPLACE,
        }
        found = changes(_plain_map(request.old_state), _plain_map(request.new_inputs))
        names = sorted({path.split(".")[0].split("[")[0] for path in found})
        return api.DiffResponse(
            changes=bool(found),
            replaces=names,
            diffs=names,
            detailed_diff={path: api.PropertyDiff(kinds[kind], True) for path, kind in found.items()},
        )

    async def create(self, request: api.CreateRequest) -> api.CreateResponse:
        inputs = _plain_map(request.properties)
        result = UNKNOWN if request.preview else password(inputs)
        defaults = {
            name: PropertyValue(value) for name, value in settled(inputs).items() if isinstance(value, bool | str)
        }
        return api.CreateResponse(
            resource_id="" if request.preview else ID,
            properties={**defaults, **request.properties, "result": PropertyValue(result, is_secret=True)},
        )

    async def read(self, request: api.ReadRequest) -> api.ReadResponse:
        result = request.properties.get("result")
        if result is None:
            raise NotImplementedError("the stand-in for the random plugin can't import; install the real plugin")
        # The secret mark is put back: a plain value returned here would land in the state in clear.
        properties = {**request.properties, "result": result.with_secret(True)}
        return api.ReadResponse(resource_id=request.resource_id, properties=properties, inputs=request.inputs)

    async def delete(self, request: api.DeleteRequest) -> None:
        """Nothing exists outside of the state."""


def plugin_version() -> str:
    """The version of the real plugin, which the `pulumi_random` package names."""
    described = json.loads((Path(pulumi_random.__file__).parent / "pulumi-plugin.json").read_text())
    return str(described["version"])


if __name__ == "__main__":
    serve(lambda _: RandomPasswordProvider(), plugin_version())
