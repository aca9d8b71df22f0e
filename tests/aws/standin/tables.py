"""Argument tables: what a resource's arguments are called in Pulumi and in boto3.

A table maps a Pulumi name (`*` behind it: required) to where its value goes in the boto3 request: a dotted path (`0` is
the first item of a list), or None when the resource's own code handles it. A nested object is `(path, table)`, a list
of objects `(path, [table])`, a value in need of a conversion `(path, function)`. A key that isn't there is a mistake.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pulumi.runtime.rpc import UNKNOWN

Properties = dict[str, Any]
Table = Mapping[str, Any]


def entries(table: Table) -> Iterator[tuple[str, str | None, Any]]:
    """(name, boto3 path, nested table, list of one, function or None) of each argument."""
    for key, entry in table.items():
        path, inner = entry if isinstance(entry, tuple) else (entry, None)
        yield key.rstrip("*"), path, inner


def names(table: Table) -> set[str]:
    return {name for name, _, _ in entries(table)}


def mistakes(table: Table, values: Mapping[str, Any], at: str = "") -> Iterator[tuple[str, str]]:
    """(path, reason) of each unknown, missing or misshapen argument; values that aren't computed yet pass."""
    inners = {name: inner for name, _, inner in entries(table)}
    for name, value in values.items():
        path = f"{at}{name}"
        if name not in inners:
            yield path, f"the stand-in for the AWS plugin knows no argument {path}"
        elif value is not None and value != UNKNOWN:
            yield from _inner_mistakes(inners[name], value, path)
    for key in table:
        if key.endswith("*") and values.get(key[:-1]) is None:
            yield f"{at}{key[:-1]}", f"{at}{key[:-1]} is required"


def _inner_mistakes(inner: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(inner, Mapping):
        if isinstance(value, Mapping):
            yield from mistakes(inner, value, f"{path}.")
        else:
            yield path, f"{path} must be an object"
    elif isinstance(inner, list):
        if not isinstance(value, list):
            yield path, f"{path} must be a list"
            return
        for place, item in enumerate(value):
            if item != UNKNOWN:
                yield from _inner_mistakes(inner[0], item, f"{path}[{place}]")
    elif inner is not None:
        try:
            inner(value)
        except ValueError as error:
            yield path, f"{path}: {error}"


def document(value: Any) -> Any:
    """A value that is JSON text, as the real provider wants an Iceberg field's type: `json.dumps("string")`."""
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        raise ValueError(f"must be a JSON document, such as json.dumps({json.dumps(value)})") from None


def to_boto(table: Table, values: Mapping[str, Any]) -> Properties:
    """The request's parameters; what isn't computed yet stays the engine's marker."""
    request: Properties = {}
    for name, path, inner in entries(table):
        value = values.get(name)
        if path is not None and value is not None:
            _put(request, path.split("."), _convert(inner, value))
    return request


def _convert(inner: Any, value: Any) -> Any:
    if value == UNKNOWN or inner is None:
        return value
    if isinstance(inner, Mapping):
        return to_boto(inner, value)
    if isinstance(inner, list):
        return [_convert(inner[0], item) for item in value]
    return inner(value)


def _put(request: Any, path: list[str], value: Any) -> None:
    for step, following in zip(path, [*path[1:], ""], strict=True):
        below: Any = [] if following == "0" else {}
        if step == "0":
            if not request:
                request.append(value if not following else below)
            request = request[0]
        elif not following:
            request[step] = value
        else:
            request = request.setdefault(step, below)


def from_boto(table: Table, answer: Mapping[str, Any]) -> Properties:
    """The arguments that a service's answer tells, by the same table; those that it doesn't mention are left out."""
    found: Properties = {}
    for name, path, inner in entries(table):
        value = _get(answer, path) if path is not None else None
        if value is None or isinstance(inner, Callable):  # type: ignore[arg-type]
            continue
        if isinstance(inner, Mapping):
            value = from_boto(inner, value)
        elif isinstance(inner, list):
            value = [from_boto(inner[0], item) for item in value]
        found[name] = value
    return found


def _get(answer: Any, path: str) -> Any:
    for step in path.split("."):
        if step == "0":
            answer = answer[0] if answer else None
        elif answer is not None:
            answer = answer.get(step)
    return answer


def settle(table: Table, declared: Mapping[str, Any], found: Mapping[str, Any]) -> Properties:
    """The declared arguments with the values that were found: as the real provider's state is after a read.

    What the service fills in by itself stays out; what `found` lacks keeps its declared value (it can't be read back),
    what it has as None is gone. JSON documents that say the same stay as they were written.
    """
    inners = {name: inner for name, _, inner in entries(table)}
    settled: Properties = {}
    for name, value in declared.items():
        real = found.get(name, value)
        if real is not None and value is not None:
            settled[name] = _settle_inner(inners.get(name), value, real)
    return settled


def _settle_inner(inner: Any, declared: Any, real: Any) -> Any:
    if isinstance(inner, Mapping) and isinstance(declared, Mapping) and isinstance(real, Mapping):
        return settle(inner, declared, real)
    if isinstance(inner, list) and isinstance(declared, list) and len(declared) == len(real):
        return [_settle_inner(inner[0], *pair) for pair in zip(declared, real, strict=True)]
    return declared if same(declared, real) else real


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same: equal, both empty, or JSON documents with the same content."""
    if one == other or (one in (None, {}, []) and other in (None, {}, [])):
        return True
    if isinstance(one, str) and isinstance(other, str) and one[:1] == "{" == other[:1]:
        try:
            return bool(json.loads(one) == json.loads(other))
        except ValueError:
            return False
    return False


def differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(path, "add" | "delete" | "update") of every leaf that differs; an unknown value differs from all others."""
    if new == UNKNOWN:
        yield path, "add" if old is None else "update"
    elif _all(Mapping, old, new):
        old, new = old or {}, new or {}
        for key in sorted({*old, *new}):
            step = key if key.replace("_", "").isalnum() else f"[{json.dumps(key)}]"
            below = f"{path}.{step}" if path and step == key else f"{path}{step}"
            yield from differences(old.get(key), new.get(key), below)
    elif _all(list, old, new):
        old, new = old or [], new or []
        for place in range(max(len(old), len(new))):
            before, after = (items[place] if place < len(items) else None for items in (old, new))
            yield from differences(before, after, f"{path}[{place}]")
    elif not same(old, new):
        yield path, "add" if old is None else "delete" if new is None else "update"


def _all(kind: type, old: Any, new: Any) -> bool:
    return any(isinstance(value, kind) for value in (old, new)) and all(
        value is None or isinstance(value, kind) for value in (old, new)
    )


def has_unknown(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(has_unknown, value.values()))
    if isinstance(value, list):
        return any(map(has_unknown, value))
    return bool(value == UNKNOWN)
