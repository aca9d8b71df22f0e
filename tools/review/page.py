"""A Review as a page: Markdown for a comment, or text for a terminal."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal

from tools.review.notes import Danger, Review, Section, named

MARKER = "<!-- sluice-review -->"
"""The comment's first line, by which a workflow finds it again."""

DANGERS: dict[Danger, str] = {"data": "loses data", "feed": "cuts a feed off", "secret": "exposes a secret"}

_SECRETS = (
    re.compile(r"slc_[0-9A-Za-z]+"),
    re.compile(r"/v1/[A-Za-z0-9_]+/[^\s\"'`)]+"),
    re.compile(r"\bpostgres(?:ql)?://[^\s\"'`]+"),
    re.compile(r"(?<=://)[^\s/@\"'`]+@"),
    re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
)
_STYLES = {"bold": "1", "red": "1;31", "green": "32", "yellow": "33", "dim": "2"}
Style = Literal["bold", "red", "green", "yellow", "dim"]


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """The text less what looks like a secret, and less `secrets`: the last door, for what a plugin may have said."""
    forms = {form for its in secrets for form in (its, named(its)[1:-1], json.dumps(its)[1:-1])}
    for secret in sorted(forms, key=len, reverse=True):
        text = text.replace(secret, "[secret]") if len(secret) > 3 else text
    for pattern in _SECRETS:
        text = pattern.sub("[secret]", text)
    return text


def _clean(review: Review) -> Review:
    """With texts that only are what they look like: an error or a name may hold anything."""

    def clean(text: str) -> str:
        text = without_secrets(text, review.secrets).expandtabs(4)
        return "".join(each for each in text if each == "\n" or each.isprintable())  # no escapes, no turned direction

    def sections(found: Iterable[Section]) -> tuple[Section, ...]:
        return tuple(replace(its, title=clean(its.title), lines=tuple(map(clean, its.lines))) for its in found)

    return replace(
        review,
        base_name=clean(review.base_name),
        errors=tuple(map(clean, review.errors)),
        alarms=tuple(replace(its, text=clean(its.text)) for its in review.alarms),
        sections=sections(review.sections),
        earlier=sections(review.earlier),
        left=tuple(map(clean, review.left)),
    )


def markdown(review: Review) -> str:
    review = _clean(review)
    lines = [MARKER, f"## Stack `{review.stack}` ({review.platform})", "", review.summary, ""]
    if review.errors:
        lines += ["### ❌ Refused, so nothing would be done", ""]
        for error in review.errors:
            lines += ["```text", *error.replace("```", "'''").splitlines(), "```", ""]
    if review.alarms:
        lines += ["### 🚨 Look at this first", ""]
        lines += [f"- **{DANGERS[its.danger]}**: {its.text}{_tag(review, its.is_earlier)}" for its in review.alarms]
        lines.append("")
    lines += _markdown_sections(review.sections)
    if review.earlier:
        lines += [f"### Never deployed: said at {named(review.base_name)} already, and done by the same `up`", ""]
        lines += _markdown_sections(review.earlier)
    if review.left:
        lines += ["### Left over, or not as it was left", "", *(f"- {line}" for line in review.left), ""]
    return without_secrets("\n".join(lines).rstrip() + "\n", review.secrets)


def _markdown_sections(sections: Iterable[Section]) -> Iterator[str]:
    for section in sections:
        yield f"**{'' if section.sign == '~' else section.sign.replace('-', '−') + ' '}{section.title}**"
        yield ""
        yield from (f"- {line}" for line in section.lines)
        yield ""


def _tag(review: Review, is_earlier: bool) -> str:
    return f" *(said at {named(review.base_name)} already)*" if is_earlier else ""


def terminal(review: Review, *, colour: bool) -> str:
    review = _clean(review)

    def paint(style: Style, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text

    def plain(text: str) -> str:
        """Without Markdown's signs, but for those within a name; a name stands out by colour where there is one."""

        def sign(found: re.Match[str]) -> str:
            return found[0].replace("*", "") if found[1] is None else paint("bold", found[1])

        return re.sub(r"`([^`]*)`|\*\*|\*\(|\)\*", sign, text)

    lines = [paint("bold", f"stack {review.stack} ({review.platform})") + ": " + plain(review.summary), ""]
    if review.errors:
        lines.append(paint("red", "REFUSED, so nothing would be done"))
        lines += [f"  {line}" for error in review.errors for line in error.splitlines()]
        lines.append("")
    if review.alarms:
        lines.append(paint("red", "LOOK AT THIS FIRST"))
        for alarm in review.alarms:
            tag = plain(_tag(review, alarm.is_earlier))
            lines.append(f"  ! {paint('red', DANGERS[alarm.danger])}: {plain(alarm.text)}{tag}")
        lines.append("")

    def sections(found: Iterable[Section]) -> Iterator[str]:
        colours: dict[str, Style] = {"+": "green", "-": "red", "~": "yellow"}
        for section in found:
            yield f"{paint(colours[section.sign], section.sign)} {plain(section.title)}"
            yield from (f"    {plain(line)}" for line in section.lines)
            yield ""

    lines += sections(review.sections)
    if review.earlier:
        lines.append(paint("bold", f"never deployed: said at {review.base_name} already, and done by the same up"))
        lines += sections(review.earlier)
    if review.left:
        lines.append(paint("bold", "left over, or not as it was left"))
        lines += [f"    {plain(line)}" for line in review.left]
        lines.append("")
    return without_secrets("\n".join(lines).rstrip() + "\n", review.secrets)
