"""What a review has to go by, and the notes that it takes: lines by integration, and alarms, each with what in the
config asks for it, so that what isn't this change's own stands apart.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from components.settings import IntegrationSettings
from tools.review.declared import WHOLE, Declared, Key, changes
from tools.review.deployed import Deployed, Integration
from tools.review.plan import UNKNOWN, Plan, Step

GONE = ("delete", "discard", "read-discard")
MADE = ("create", "import")
REPLACED = ("replace", "create-replacement", "import-replacement")

Danger = Literal["data", "feed", "secret"]


@dataclass(frozen=True)
class Evidence:
    """All that a review is made of.

    base: the config of the commit that the change starts from, None where none was named. last_used: by the hash of a
    token, when its URL last took a delivery (seconds since 1970; None: never); the whole None where nobody knows.
    code: which parts of the project the change touches, as ("", "code"). left: sentences on what an earlier `up` left.
    """

    stack: str
    declared: Declared
    deployed: Deployed = field(default_factory=Deployed)
    plan: Plan = field(default_factory=Plan)
    base: Declared | None = None
    base_name: str = ""
    last_used: Mapping[str, float | None] | None = None
    code: frozenset[Key] = frozenset()
    left: Sequence[str] = ()
    now: float = 0.0


@dataclass(frozen=True)
class Alarm:
    """What must not be overlooked. `is_earlier`: it isn't this change that asks for it."""

    danger: Danger
    text: str
    is_earlier: bool = False


@dataclass(frozen=True)
class Section:
    """Of one integration, or of the platform. Names in a text stand in backquotes."""

    title: str
    sign: Literal["+", "-", "~"]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Review:
    stack: str
    platform: str
    base_name: str
    summary: str
    errors: tuple[str, ...]
    alarms: tuple[Alarm, ...]
    sections: tuple[Section, ...]
    earlier: tuple[Section, ...]
    """What the config said at the base already, and no `up` has done yet."""
    left: tuple[str, ...]
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Texts that must not be shown, wherever they come from."""


PLATFORM = ""
"""In place of a schema: what the line is about belongs to the stack as a whole."""


class Notes:
    """What is said so far, of the evidence `see`. `changed`: what this change asks for, empty without a base."""

    def __init__(self, see: Evidence) -> None:
        self.see = see
        self.new, self.old = see.declared, see.deployed
        self.changed = see.code | (changes(see.base, self.new) if see.base else frozenset())
        self.steps = see.plan.steps
        self.left: list[str] = list(see.left)
        self._alarms: list[Alarm] = []
        self._lines: dict[tuple[bool, str], list[str]] = {}
        self._tally: Counter[str] = Counter()
        self._told: set[tuple[str, str]] = set()

    @property
    def destroys(self) -> bool:
        return self.new.settings.get("destroyData") is True

    def say(self, of: str, text: str, *keys: Key, tally: str = "") -> None:
        """A line about the integration with that schema, or PLATFORM. `tally`: what it counts as in the summary."""
        lines = self._lines.setdefault((self._is_earlier(keys), of), [])
        if text not in lines:
            lines.append(text)
        if tally:
            self._tally[tally] += 1

    def warn(self, danger: Danger, text: str, *keys: Key) -> None:
        alarm = Alarm(danger, text, self._is_earlier(keys))
        if alarm not in self._alarms:
            self._alarms.append(alarm)

    def mark(self, step: Step, *properties: str) -> None:
        """These properties of the step have been told in words of their own; all of it where none are named."""
        self._told |= {(step.resource.urn, name) for name in properties or ("*",)}

    def told(self, step: Step) -> set[str]:
        return {name for urn, name in self._told if urn == step.resource.urn}

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        order = ("data", "feed", "secret")
        return tuple(sorted(self._alarms, key=lambda its: (its.is_earlier, order.index(its.danger))))

    def sections(self, *, earlier: bool) -> tuple[Section, ...]:
        found = sorted(self._lines.items(), key=lambda item: item[0][1] == PLATFORM)
        return tuple(
            Section(self._title(of), self._sign(of), tuple(lines)) for (its, of), lines in found if its == earlier
        )

    @property
    def summary(self) -> str:
        if self.see.plan.errors:
            return "The preview failed: nothing can be said of what would change."
        if not self._lines:
            count = f"{len(self.steps)} resource{'s change' if len(self.steps) > 1 else ' changes'}"
            return f"{count}, and no integration." if self.steps else "Nothing changes."
        counted = [f"{count} {what}" for what, count in self._tally.items()]
        first = "The first `up` of this stack: " if self.old.is_new else ""
        counts = ", ".join(counted) or f"{'no' if first else 'No'} integration is added, removed or rotated"
        return f"{first}{counts}."

    def _is_earlier(self, keys: Iterable[Key]) -> bool:
        keys = list(keys)
        if self.see.base is None or not keys:
            return False
        return not any(key in self.changed or (key[0], WHOLE) in self.changed for key in keys)

    def _title(self, of: str) -> str:
        if of == PLATFORM:
            return "The platform"
        new, old = self.new.integrations.get(of), self.old.integrations.get(of)
        name = new.name if new else old.name if old else of
        return f"{named(name)}, schema `{of}`"

    def _sign(self, of: str) -> Literal["+", "-", "~"]:
        if of == PLATFORM or (of in self.new.integrations and of in self.old.integrations):
            return "~"
        return "+" if of in self.new.integrations else "-"


def named(name: str) -> str:
    """A name from a config, so that it can't be anything else in Markdown: no markup, no mention of a person."""
    return "`" + "".join(each if each.isprintable() else " " for each in name.replace("`", "'")) + "`"


def who(integration: Integration | IntegrationSettings) -> str:
    return named(integration.name)


def past(op: str) -> str:
    return {"create": "made", "import": "taken over", "update": "changed", "delete": "deleted"}.get(op, "replaced")


def number(value: object) -> str:
    """A number as it may be shown; anything else isn't."""
    if isinstance(value, bool) or value == UNKNOWN or not isinstance(value, (int, float, str)):
        return "?"
    try:
        return f"{int(float(value)):,}".replace(",", " ") if float(value) >= 100_000 else str(int(float(value)))
    except ValueError:
        return "?"
