"""Stricter than botocore, which checks names and types: also what the services' models say of enums, lengths, ranges
and patterns. Never names a value, which may be a secret."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from botocore.model import Shape
from botocore.validate import ParamValidator
from pulumi.runtime.rpc import UNKNOWN

from provider.resource import ResourceError
from tests.aws.standin.tables import has_unknown

COUNTED = {"string", "list", "map"}
NUMBERS = {"integer", "long", "float", "double"}


def refuse(params: dict[str, Any], model: Any, **_: Any) -> None:
    """A handler of botocore's event `before-parameter-build`."""
    for where, breach in breaches(model.input_shape, params):
        raise ResourceError(f"{model.name}: {where} {breach}")


def complaints(shape: Shape, params: Mapping[str, Any]) -> list[str]:
    """Everything that botocore and the model have against a request; parts that aren't computed yet pass."""
    found = [f"{where} {breach}" for where, breach in breaches(shape, params)]
    if not has_unknown(params):
        report = ParamValidator().validate(params, shape)
        if report.has_errors():
            text = report.generate_report()
            found += [re.sub(r", value: .*, type: ", ", type: ", line) for line in text.splitlines()]
    return found


def breaches(shape: Shape | None, value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """(path, what is wrong) of each value that the shape doesn't allow."""
    if shape is None or value is None or value == UNKNOWN or getattr(shape, "is_document_type", False):
        return
    if shape.type_name == "structure" and isinstance(value, Mapping):
        for name, item in value.items():
            yield from breaches(shape.members.get(name), item, f"{at}.{name}" if at else name)
    elif shape.type_name == "list" and isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from breaches(shape.member, item, f"{at}[{place}]")
    elif shape.type_name == "map" and isinstance(value, Mapping):
        for key, item in value.items():
            yield from breaches(shape.key, key, f"{at} key")
            yield from breaches(shape.value, item, f"{at}[{key!r}]")
    yield from ((at, breach) for breach in _own(shape, value))


def _own(shape: Shape, value: Any) -> Iterator[str]:
    rules = shape.metadata
    if shape.type_name == "string" and isinstance(value, str):
        if rules.get("enum") and value not in rules["enum"]:
            yield f"must be one of {', '.join(rules['enum'])}"
        if "pattern" in rules and not _matches(rules["pattern"], value):
            yield f"must match {rules['pattern']}"
    if shape.type_name in COUNTED and hasattr(value, "__len__"):
        size: float = len(value)
        of = "characters" if isinstance(value, str) else "items"
    elif shape.type_name in NUMBERS and isinstance(value, int | float):
        size, of = float(value), ""
    else:
        return
    if "min" in rules and size < rules["min"]:
        yield f"must be at least {rules['min']} {of}".rstrip()
    if "max" in rules and size > rules["max"]:
        yield f"must be at most {rules['max']} {of}".rstrip()


def _matches(pattern: str, value: str) -> bool:
    try:
        return re.fullmatch(pattern, value, re.DOTALL) is not None
    except re.error:  # surrogate ranges and \p{…} are Java's
        return True
