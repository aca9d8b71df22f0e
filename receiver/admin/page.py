"""The status page: one view as HTML, for a wide screen and a phone, light and dark; no script, nothing from outside.

Every text goes through `tag`, which escapes it: names come from a config, and reasons from strangers.
"""

import base64
import hashlib
import html
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from receiver import words
from receiver.admin.history import Bar, Reason
from receiver.admin.view import STALE_SECONDS, Integration, Slot, View

REFRESH_SECONDS = 5
REASONS = 8  # shown of a schema, the most frequent first
REASON_LENGTH = 200
_CHART_HEIGHT = 44

STYLE = """
:root { color-scheme: light dark; --ground: #f5f6f8; --card: #fff; --ink: #16191d; --soft: #5d6673; --line: #e2e5ea;
  --good: #11754a; --bad: #b3261e; --bar: #3b76d9; --rejected: #d9822b; --good-ground: #e2f4ea; --bad-ground: #fdeceb; }
@media (prefers-color-scheme: dark) { :root { --ground: #101317; --card: #191d23; --ink: #e8eaed; --soft: #9aa4b2;
  --line: #2b313a; --good: #62d29b; --bad: #ff8a80; --bar: #6ea2f5; --rejected: #f0a95c; --good-ground: #14301f;
  --bad-ground: #3a1917; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.45 system-ui, sans-serif;
  font-variant-numeric: tabular-nums; }
main { max-width: 68rem; margin: 0 auto; padding: 1.25rem 1rem 2.5rem; }
header, .head { display: flex; flex-wrap: wrap; align-items: baseline; gap: .25rem .75rem; }
header { margin-bottom: 1rem; }
h1 { font-size: 1.35rem; margin: 0; }
h2 { font-size: 1.1rem; margin: 0; overflow-wrap: anywhere; }
h3 { font-size: .8rem; font-weight: 600; color: var(--soft); margin: 1.1rem 0 .35rem; }
a { color: inherit; }
code { font: .88em ui-monospace, monospace; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.pill { border-radius: 1rem; padding: .1rem .7rem; font-size: .85rem; font-weight: 600; }
.pill.good { color: var(--good); background: var(--good-ground); }
.pill.bad { color: var(--bad); background: var(--bad-ground); }
.problems { list-style: none; margin: 0 0 1rem; padding: .7rem 1rem; border-radius: .6rem;
  background: var(--bad-ground); color: var(--bad); overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 0 0 1rem; }
.tile, section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.tile { padding: .7rem .9rem; min-width: 0; }
.tile dt, .numbers dt { color: var(--soft); font-size: .8rem; }
.tile dd, .numbers dd { margin: 0; font-weight: 600; }
.tile dd { font-size: 1.15rem; }
.tile p { margin: 0; font-size: .8rem; color: var(--soft); overflow-wrap: anywhere; }
.good dd { color: var(--good); }
.bad dd { color: var(--bad); }
section { padding: 1rem 1.1rem 1.2rem; margin-bottom: 1rem; }
.numbers { display: flex; flex-wrap: wrap; gap: .4rem 2rem; margin: .6rem 0 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(17rem, 100%), 1fr)); gap: 0 1.5rem; }
.charts div { min-width: 0; }
svg { display: block; width: 100%; height: 44px; border-bottom: 1px solid var(--line); }
.edges { display: flex; justify-content: space-between; margin: .15rem 0 0; font-size: .75rem; color: var(--soft); }
.taken { fill: var(--bar); }
.rejected { fill: var(--rejected); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-size: .8rem; font-weight: 400; color: var(--soft); padding: 0 1rem .15rem 0; }
th { white-space: nowrap; }
td { padding: .3rem 1rem .3rem 0; border-top: 1px solid var(--line); white-space: nowrap; }
td.reason { white-space: normal; overflow-wrap: anywhere; width: 100%; }
td.count, th.count { text-align: right; }
footer { color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) {
  .slots thead { display: none; }
  .slots tr { display: grid; grid-template-columns: auto 1fr; gap: 0 .8rem; border-top: 1px solid var(--line);
    padding: .4rem 0; }
  .slots td { border: 0; padding: 0; }
  .slots td.wide { grid-column: 1 / -1; color: var(--soft); font-size: .88rem; }
  .slots td.wide::before { content: attr(data-label) " "; }
}
"""
STYLE_HASH = "sha256-" + base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: object) -> Html:
    """An element. `content` is escaped unless it is Html; an attribute's `_` is written `-`, `class_` is `class`."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"' for key, value in attributes.items()
    )
    return Html(f"<{name}{given}>{_join(content)}</{name}>")


def _join(content: Iterable[str]) -> Html:
    return Html("".join(each if isinstance(each, Html) else html.escape(each) for each in content))


def render(view: View, now: float | None = None) -> str:
    """The whole page; `now`, in seconds since 1970, is later than the view where the disk doesn't answer."""
    now = time.time() if now is None else now
    problems = list(view.problems)
    if now - view.at > STALE_SECONDS:
        problems.insert(0, f"The disk doesn't answer: this is how things were {span(now - view.at)} ago")
    body = tag(
        "main",
        _header(view, problems),
        tag("ul", *(tag("li", each) for each in problems), class_="problems") if problems else Html(""),
        _tiles(view),
        *(_integration(each, view.at) for each in view.integrations),
        Html("") if view.integrations else tag("p", "There is no integration yet: add one to the config, and make up."),
        _footer(view),
    )
    head = tag(
        "head",
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="refresh" content="{REFRESH_SECONDS}">'),
        tag("title", f"{'! ' if problems else ''}Sluice {view.stack}"),
        tag("style", Html(STYLE)),
    )
    return "<!doctype html>" + tag("html", head, tag("body", body), lang="en")


def _header(view: View, problems: Sequence[str]) -> Html:
    if problems:
        pill = tag("span", f"{len(problems)} to look at", class_="pill bad")
    else:
        pill = tag("span", "all is well", class_="pill good")
    return tag("header", tag("h1", f"Sluice {view.stack}"), pill, tag("span", _when(view.at), class_="soft"))


def _tiles(view: View) -> Html:
    warehouse = {"up": "up", "down": "down"}.get(view.warehouse, "not known yet")
    receiver = f"{view.address}, up {span(view.at - view.started_at)}"
    lag = span(view.lag) if view.rows else "none"
    share = view.waiting_bytes / view.max_bytes if view.max_bytes else 0
    return tag(
        "dl",
        _tile("Receiver", "not ready" if view.not_ready else "ready", receiver, "bad" if view.not_ready else "good"),
        _tile("Warehouse", warehouse, "the loader runs" if view.loader_pid else "the loader doesn't run",
              "good" if warehouse == "up" and view.loader_pid else "bad"),
        _tile("Spool", f"{view.rows:,} waiting", f"{size(view.waiting_bytes)} of {size(view.max_bytes)}",
              "bad" if share > 0.8 else ""),
        _tile(words.LOADER_LAG.capitalize(), lag, "age of the oldest event that waits", ""),
        _tile(words.REFUSED.capitalize(), f"{view.unauthorized:,}", "answered 401, since the start", ""),
        class_="tiles",
    )  # fmt: skip


def _tile(name: str, value: str, more: str, mood: str) -> Html:
    return tag("div", tag("dt", name), tag("dd", value), tag("p", more), class_=f"tile {mood}".strip())


def _integration(each: Integration, now: float) -> Html:
    counts = each.counts
    last = counts.last_received_at / 1e6 if counts.last_received_at else None
    lag = f", the oldest for {span(now - each.oldest_at)}" if each.oldest_at else ""
    numbers = [
        (words.ACCEPTED, f"{counts.accepted:,}"),
        (words.LOADED, f"{counts.loaded:,}"),
        (words.REJECTED, f"{counts.rejected:,}"),
        (words.WAITING, f"{counts.waiting:,}{lag}"),
        (words.LAST_EVENT, ago(last, now)),
    ]
    parts = [
        tag(
            "div",
            tag("h2", each.name),
            tag("span", tag("code", each.schema), f" from {each.source}" if each.source else "", class_="soft"),
            tag("span", "held", class_="pill bad") if each.hold else Html(""),
            class_="head",
        ),
        tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in numbers), class_="numbers"),
        tag(
            "div",
            _chart("Last hour", "60 min ago", "a minute", each.past.hour),
            _chart("Last day", "24 h ago", "15 min", each.past.day),
            class_="charts",
        ),
        _slots(each.slots, now),
    ]
    if each.past.reasons:
        parts.append(_reasons(each.past.reasons, now))
    return tag("section", *parts)


def _chart(name: str, since: str, step: str, bars: Sequence[Bar]) -> Html:
    """Accepted deliveries over time, those that were rejected in another colour at the foot."""
    peak = max(max(bar.taken, bar.rejected) for bar in bars)
    total, rejected = sum(bar.taken for bar in bars), sum(bar.rejected for bar in bars)
    said = f"{total:,} events" + (f", {rejected:,} rejected" if rejected else "")
    most = f"at most {peak:,} in {step}" if peak else ""
    drawn = [
        tag("path", d=_path([bar.taken for bar in bars], peak), class_="taken"),
        tag("path", d=_path([bar.rejected for bar in bars], peak), class_="rejected"),
    ]
    picture = tag(
        "svg", tag("title", f"{name}: {said}"), *drawn, viewBox=f"0 0 {len(bars)} {_CHART_HEIGHT}",
        preserveAspectRatio="none", role="img",
    )  # fmt: skip
    edges = tag("p", tag("span", since), tag("span", most), tag("span", "now"), class_="edges")
    return tag("div", tag("h3", f"{name}: {said}"), picture, edges)


def _path(values: Sequence[int], peak: int) -> str:
    bars = []
    for place, value in enumerate(values):
        if value:
            height = max(2.0, round(value / peak * (_CHART_HEIGHT - 2), 1))
            bars.append(f"M{place + 0.1:.1f} {_CHART_HEIGHT}h.8v-{height}h-.8z")
    return "".join(bars)


def _slots(slots: Sequence[Slot], now: float) -> Html:
    if not slots:
        return tag("p", "It has no live URL.", class_="soft")
    names = ["slot", "token", "version", "made", words.LAST_USED, "in the last minute"]
    rows = []
    for slot in slots:
        made = ago(slot.created_at, now) if slot.created_at else "not known"
        values = [str(slot.version), made, ago(slot.last_used, now), f"{slot.recent:,}"]
        cells = [
            tag("td", slot.slot, tag("span", " signed", class_="soft") if slot.signed else Html("")),
            tag("td", tag("code", slot.fingerprint)),
            *(tag("td", value, class_="wide", data_label=name) for name, value in zip(names[2:], values, strict=True)),
        ]
        rows.append(tag("tr", *cells))
    head = tag("thead", tag("tr", *(tag("th", name) for name in names)))
    table = tag("table", head, tag("tbody", *rows), class_="slots")
    return _join([tag("h3", "Live URLs"), tag("div", table, class_="scroll")])


def _reasons(reasons: Sequence[Reason], now: float) -> Html:
    rows = [
        tag(
            "tr",
            tag("td", f"{each.times:,}", class_="count"),
            tag("td", each.reason[:REASON_LENGTH], class_="reason"),
            tag("td", ago(each.last_at, now), class_="soft"),
        )
        for each in reasons[:REASONS]
    ]
    others = sum(each.times for each in reasons[REASONS:])
    if others:
        rows.append(tag("tr", tag("td", f"{others:,}", class_="count"), tag("td", "for other reasons", class_="reason"),
                        tag("td", "")))  # fmt: skip
    table = tag("table", tag("tbody", *rows))
    return _join([tag("h3", "Rejected in the last day"), table])


def _footer(view: View) -> Html:
    return tag(
        "footer",
        f"Receiver pid {view.pid}, code {view.code}. This page renews itself every {REFRESH_SECONDS} seconds. ",
        "For machines: ",
        *(_join([tag("a", path, href=path), " "]) for path in ("/metrics", "/ready", "/health")),
    )


# Numbers for people


def span(seconds: float) -> str:
    """A length of time, in its largest unit."""
    for unit, length in (("day", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            number = int(seconds // length)
            return f"{number}\N{NO-BREAK SPACE}{unit}{'s' if unit == 'day' and number > 1 else ''}"
    return f"{max(0, int(seconds))}\N{NO-BREAK SPACE}s"


def ago(at: float | None, now: float) -> Html:
    return tag("time", f"{span(now - at)} ago", datetime=_iso(at), title=_when(at)) if at else Html("never")


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def _when(at: float) -> str:
    """In the receiver's time zone, which it names: whoever looks may be in another."""
    return f"{datetime.fromtimestamp(at).astimezone():%Y-%m-%d %H:%M:%S %Z}"


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
