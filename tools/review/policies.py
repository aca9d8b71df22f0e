"""What a policy document allows that the one before it didn't, in names that may be shown."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from policy.rules import listed, statements
from tools.review.plan import UNKNOWN

_ACTION = re.compile(r"[A-Za-z0-9-]+:[A-Za-z0-9*?]+|\*")


def widened(before: object, after: object) -> list[str]:
    """Each thing that is newly allowed, in a few words; nothing where it only got narrower."""
    if UNKNOWN in str(after):
        return ["what it allows isn't known before the up"]
    old, new = ([] if document in (None, "") else statements(document) for document in (before, after))
    if old is None or new is None:
        return ["what it allows can't be read"]
    found = []
    had, has = {each for its in old for each in _grants(its)}, {each for its in new for each in _grants(its)}
    more = sorted({action for action, *_ in has} - {action for action, *_ in had})
    if more:
        found.append("allows " + ", ".join(f"`{action}`" for action in more))
    elif has - had:
        found.append("allows the same on more, to more, or under fewer conditions")
    denied = {json.dumps(its, sort_keys=True) for its in old if its.get("Effect") == "Deny"}
    if denied - {json.dumps(its, sort_keys=True) for its in new if its.get("Effect") == "Deny"}:
        found.append("denies less")
    return found


def _grants(statement: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(action, str(resource), who, conditions) for each combination that a statement allows."""
    if statement.get("Effect") != "Allow":
        return
    rest = {key: value for key, value in statement.items() if key.startswith("Not")}
    who = json.dumps([statement.get("Principal"), rest], sort_keys=True)
    conditions = json.dumps(statement.get("Condition"), sort_keys=True)
    for action in listed(statement.get("Action")) or ["everything but"]:
        for resource in listed(statement.get("Resource")) or [""]:
            yield action if _ACTION.fullmatch(str(action)) else "an action", str(resource), who, conditions
