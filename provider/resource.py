"""What every resource of the provider has in common: plain values in, plain values out.

The plugin (plugin.py) speaks Pulumi's property values; a resource sees dictionaries of ordinary Python values, so that
tests can call it without an engine.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

Properties = dict[str, Any]
"""A resource's inputs or outputs, by their name on the wire (camelCase)."""


class ResourceError(Exception):
    """Something that the person who ran `pulumi up` can act on: one or two sentences, no secret in them."""


@dataclass(frozen=True)
class Context:
    """Where a call happens.

    root: the project's folder. project, stack: from the URN. config: the `sluice:` config of the stack as the
    provider got it. say: shows a message (or a warning) beside the resource in the engine's output.
    """

    root: Path
    project: str
    stack: str
    config: Mapping[str, str]
    say: Callable[[str, bool], Awaitable[None]]

    @property
    def home(self) -> Path:
        """The stack's folder, which holds all its data."""
        return self.root / ".sluice" / self.stack


class Resource:
    """One resource type. Subclasses say what exists and how it is made; comparing inputs is the same for all."""

    token: ClassVar[str]
    secrets: ClassVar[frozenset[str]] = frozenset()
    """Inputs and outputs that are wrapped as secrets in every answer."""
    replaces: ClassVar[frozenset[str]] = frozenset()
    """Inputs whose change makes another resource, created before this one is deleted."""
    delete_before_replace: ClassVar[bool] = False
    """Whether the old one goes first. In a rotation the new URL must live by then, so no resource says so."""
    outputs: ClassVar[frozenset[str]] = frozenset()
    """Outputs that only exist once the resource does: unknown while a creation is previewed."""
    sets: ClassVar[frozenset[str]] = frozenset()
    """Inputs that are lists whose order means nothing: a change of one is named item by item."""

    async def check(self, context: Context, inputs: Properties) -> Properties:
        """The inputs completed with what the provider itself decides. Raises ResourceError for a mistake."""
        return inputs

    async def drift(self, context: Context, state: Properties) -> set[str]:
        """The outputs that aren't true any more, looked at on every `up`; not empty means an update."""
        return set()

    async def remark(self, context: Context, state: Properties, inputs: Properties) -> None:
        """Says what a person should know of the change from `state` to `inputs`, in a preview and on the `up`.

        Inputs may be unknown. Raises ResourceError for a change that must not be made.
        """

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        """Makes it, also when an earlier, killed run made part of it. Returns (id, outputs)."""
        raise NotImplementedError

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        """Makes what exists as the inputs say, and returns the outputs."""
        raise NotImplementedError

    def foresee(self, state: Properties, inputs: Properties) -> Properties:
        """The outputs that an update will have, for a preview: UNKNOWN where only the update can tell."""
        return {name: state.get(name) for name in self.outputs}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        """The outputs as they really are, or None when it is gone."""
        raise NotImplementedError

    async def find(self, context: Context, resource_id: str) -> Properties:
        """The outputs of one that `pulumi import` names by its id. Raises ResourceError when there is none."""
        raise ResourceError(f"a {self.token} can't be imported: an `up` makes it, or takes up what is there")

    def identity(self, found: Properties) -> str | None:
        """The id of what `read` or `find` returned, where it may have become another one."""
        return None

    async def delete(self, context: Context, state: Properties) -> None:
        """Ends it. Already gone is fine."""
        raise NotImplementedError
