"""A preview, and the state that it starts from, as plain data.

`pulumi preview --json` writes "[secret]" for what the engine knows to be one, and everything else in clear; so what is
read here never reaches the page as it is. Only names, numbers and fingerprints do (review.py).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Properties = Mapping[str, Any]

INTEGRATION = "sluice:index:Integration"
STACK = "pulumi:pulumi:Stack"
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"  # what Pulumi writes for a text that isn't known yet


@dataclass(frozen=True)
class Resource:
    """A resource in a stack's state, or as a preview foresees it."""

    urn: str
    inputs: Properties = field(default_factory=dict, repr=False)
    outputs: Properties = field(default_factory=dict, repr=False)
    is_protected: bool = False
    is_kept: bool = False
    """Whether the engine lets go of it without deleting it (`retain_on_delete`)."""
    is_left_over: bool = False
    """Whether it was replaced and still waits to be deleted."""

    @property
    def name(self) -> str:
        return self.urn.rsplit("::", 1)[-1]

    @property
    def type(self) -> str:
        return self.urn.split("::")[-2].split("$")[-1]

    @property
    def schema(self) -> str | None:
        """The integration that it is a part of, by schema; None for a part of the platform."""
        if INTEGRATION not in self.urn.split("::")[-2].split("$"):
            return None
        return self.name.split("-")[0]  # a schema's name has no hyphen

    @property
    def slot(self) -> str:
        """The slot of a token or an endpoint, which ends its name."""
        return self.name.rsplit("-", 1)[-1]


@dataclass(frozen=True)
class Step:
    """What the engine would do with a resource: `op` is create, update, replace, delete, import and the like."""

    op: str
    old: Resource | None
    new: Resource | None
    changed: frozenset[str] = frozenset()
    """The properties that differ, by their first name."""
    paths: frozenset[str] = frozenset()
    """The same, as deep as the plugin says it: `views.email_events`."""
    drifted: frozenset[str] = frozenset()
    """Those of them that nobody asked for: what is really there isn't as the state has it."""

    @property
    def resource(self) -> Resource:
        found = self.old or self.new
        assert found is not None  # noqa: S101 (for the type checker)
        return found

    @property
    def type(self) -> str:
        return self.resource.type

    @property
    def name(self) -> str:
        return self.resource.name

    @property
    def schema(self) -> str | None:
        return self.resource.schema

    def before(self, name: str) -> Any:
        return self.old.inputs.get(name) if self.old else None

    def after(self, name: str) -> Any:
        return self.new.inputs.get(name) if self.new else None


@dataclass(frozen=True)
class Plan:
    """A preview. `errors`: why there is none, where it failed."""

    steps: tuple[Step, ...] = ()
    errors: tuple[str, ...] = ()


def resource(found: Mapping[str, Any]) -> Resource:
    """From the engine's own form of a resource, in a preview or a `pulumi stack export`."""
    return Resource(
        str(found["urn"]),
        found.get("inputs") or {},
        found.get("outputs") or {},
        bool(found.get("protect")),
        bool(found.get("retainOnDelete")),
        bool(found.get("delete")),
    )


def state(resources: Iterable[Mapping[str, Any]]) -> list[Resource]:
    """The resources of a `pulumi stack export`."""
    return [resource(found) for found in resources]


def plan(preview: Mapping[str, Any]) -> Plan:
    """From the document that `pulumi preview --json` prints."""
    errors = [_message(said) for said in preview.get("diagnostics") or () if said.get("severity") in ("error", "fatal")]
    # The last one always is "the program ended", which says nothing beside the reason that comes before it.
    telling = [said for said in errors if not said.startswith(("an unhandled error occurred", "preview failed"))]
    protected = [found[1] for said in telling if (found := _PROTECTED.search(said))]
    if protected:
        telling = [said for said in telling if not _PROTECTED.search(said)]
        telling.append(
            f"protected, so that no `up` deletes or replaces it: {', '.join(protected)}\n"
            "If it is meant to go: `sluice:protect: false`, an `up` with nothing else in it, and this change after that"
        )
    steps = [_step(step) for step in preview.get("steps") or () if step["op"] != "same"]
    return Plan(tuple(step for step in steps if not step.type.startswith("pulumi:")), tuple(telling or errors))


_PROTECTED = re.compile(r'resource "urn:[^"]*::([^":]+)" cannot be (?:deleted|replaced)\s+because it is protected')


def _message(said: Mapping[str, Any]) -> str:
    return str(said.get("message", "")).strip().removeprefix("error: ").strip()


def _step(step: Mapping[str, Any]) -> Step:
    detailed: Mapping[str, Any] = step.get("detailedDiff") or {}
    reasons: Sequence[str] = [*(step.get("diffReasons") or ()), *(step.get("replaceReasons") or ())]
    old, new = step.get("oldState"), step.get("newState")
    # A computed output is named without an input of that name: on a refresh, or by a provider that looked.
    drifted = {_first(path) for path, its in detailed.items() if not its.get("inputDiff", True)}
    return Step(
        str(step["op"]),
        resource(old) if old else None,
        resource(new) if new else None,
        frozenset(_first(path) for path in [*detailed, *reasons]),
        frozenset(detailed),
        frozenset(drifted) if str(step["urn"]).split("::")[-2].split("$")[-1].startswith("sluice:") else frozenset(),
    )


def _first(path: str) -> str:
    return path.split(".")[0].split("[")[0]
