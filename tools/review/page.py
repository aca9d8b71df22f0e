"""A Review as a page: Markdown for a comment, or text for a terminal."""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from tools.review.notes import Danger, Review, Section

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
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "[secret]") if len(secret) > 3 else text
    for pattern in _SECRETS:
        text = pattern.sub("[secret]", text)
    return text


def markdown(review: Review) -> str:
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
        lines += [f"### Never deployed: said at `{review.base_name}` already, and done by the same `up`", ""]
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
    return f" *(said at `{review.base_name}` already)*" if is_earlier else ""


def terminal(review: Review, *, colour: bool) -> str:
    def paint(style: Style, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text

    def plain(text: str) -> str:
        """Without Markdown's signs; names stand out by colour where there is one, else by quotes."""
        text = text.replace("**", "").replace("*(", "(").replace(")*", ")")
        return re.sub(r"`([^`]*)`", lambda found: paint("bold", found[1]) if colour else found[1], text)

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
    # A name may be anything that a config's text can be, but not a control sequence of the terminal.
    text = "\n".join(lines).rstrip() + "\n"
    text = "".join(each for each in text if each == "\n" or each.isprintable() or (colour and each == "\x1b"))
    return without_secrets(text, review.secrets)
