"""What a change means, in sentences for whoever has to say yes or no: a preview and two configs in, a Review out.

Pure, and the one place that decides what is shown of a preview: names, numbers, versions and fingerprints. A value of
the engine's own diff is compared here and never quoted, since some that are secret aren't marked as such.
"""

from collections import Counter

from policy.rules import PASSWORD as TOKEN
from policy.rules import SCHEMA
from tools.review import deployed as there
from tools.review import integrations, shared
from tools.review.declared import Key, is_http
from tools.review.notes import GONE, MADE, PLATFORM, Evidence, Notes, Review, named, past
from tools.review.plan import INTEGRATION

_SAID_BY_NAME = frozenset((TOKEN, there.ENDPOINT, there.ITEM, there.SENDER, there.WEBHOOK, SCHEMA, INTEGRATION))
"""Types whose changes have been said integration by integration."""


def review(evidence: Evidence) -> Review:
    notes = Notes(evidence)
    _config_itself(notes)
    if not evidence.plan.errors:
        integrations.tell(notes)
        shared.tell(notes)
        _the_rest(notes)
    in_clear = notes.new.clear_values | (evidence.base.clear_values if evidence.base else frozenset())
    return Review(
        evidence.stack,
        notes.new.platform,
        evidence.base_name,
        notes.summary,
        evidence.plan.errors,
        notes.alarms,
        notes.sections(earlier=False),
        notes.sections(earlier=True),
        tuple(notes.left),
        in_clear,
    )


def _config_itself(notes: Notes) -> None:
    new, base = notes.new, notes.see.base
    for path in new.in_clear:
        notes.warn(
            "secret",
            f"{named(path)} holds a secret in clear: take it out and get another, as the history keeps this one",
        )
    for path in base.in_clear if base else ():
        if path not in new.in_clear:
            notes.warn(
                "secret",
                f"{named(path)} held a secret in clear before, and the history still does: get another one",
            )
    for key in ("publicUrl", "customerioApi"):
        if is_http(new.settings.get(key)):
            notes.warn(
                "secret", f"`sluice:{key}` is an http address: the secrets that go there travel in clear", ("", key)
            )
    if base and base.encryption != new.encryption and base.encryption != "[null, null, null]":
        notes.warn("secret", "what the config's secrets are encrypted with changes", ("", "encryption"))


def _the_rest(notes: Notes) -> None:
    """What drifted, and what no sentence above is about: counted by type, with the names of what differs."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for step in notes.steps:
        short = step.type.rsplit(":", 1)[-1]
        if step.drifted:
            notes.left.append(f"{named(step.name)} ({short}) isn't as the last `up` left it, and is put right")
        if step.schema is not None and (
            step.schema not in notes.old.integrations or step.schema not in notes.new.integrations
        ):
            continue  # of an integration that comes or goes as a whole
        if step.type in _SAID_BY_NAME or notes.old.is_new or "*" in (told := notes.told(step)):
            continue
        rest = sorted(step.changed - step.drifted - told)
        if step.op == "update" and not rest:
            continue
        counted[(step.op, short, ", ".join(f"`{name}`" for name in rest) if step.op not in (*GONE, *MADE) else "")] += 1
    for (op, short, names), count in sorted(counted.items()):
        much = f"{count} × " if count > 1 else ""
        notes.say(PLATFORM, f"{much}{short} {past(op)}{f' ({names})' if names else ''}", *_every_key(notes))
    for left in notes.old.left_over:
        slot = notes.old.integrations.get(left.schema or "")
        what = f"{named(left.name)} was replaced by an earlier `up` and is deleted now"
        if slot and left.type in (there.ENDPOINT, there.ITEM):
            what = f"the old {left.slot} URL of {named(slot.name)} still works, from an `up` that failed; it ends now"
        notes.left.append(what)


def _every_key(notes: Notes) -> list[Key]:
    """For what may come from anything: it counts as this change's if this change has anything at all in it."""
    return list(notes.changed) or [("", "code")]
