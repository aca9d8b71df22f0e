"""`make replay`: what it was asked for, and what it says. `receiver.replay` does it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import psycopg

from provider.warehouse import connect
from receiver import replay
from receiver.event import MAX_EVENT_ID
from receiver.loader import trouble_of
from receiver.rejects import kind
from receiver.replay import Outcome, Wanted
from receiver.rows import TABLE_VERSION
from tools.stack import StackError
from tools.table import table

_WIDEST = 90  # characters of a reason


def wanted(reason: str, since: str, until: str) -> Wanted:
    """What REASON, SINCE and UNTIL ask for, each of them "" where it isn't given. Raises StackError."""
    try:
        reason.encode()
    except UnicodeError:
        raise StackError("REASON isn't UTF-8") from None
    asked = Wanted(reason, _moment("SINCE", since), _moment("UNTIL", until))
    if asked.since and asked.until and asked.since >= asked.until:
        raise StackError(f"SINCE={since} isn't before UNTIL={until}")
    return asked


def _moment(name: str, text: str) -> datetime | None:
    """A date or a time, of this machine's time zone unless it says another, as `make status` shows times."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise StackError(f"{name}={text} isn't a date: write 2026-11-01, or 2026-11-01T08:30") from None


def run(dsn: str, schemas: Sequence[str], asked: Wanted, *, dry: bool) -> int:
    """Replays the rows of each schema, and prints what became of them. Raises ResourceError and StackError."""
    outcomes = {schema: Outcome() for schema in schemas}
    try:
        with connect(dsn, autocommit=True, application_name="sluice-replay") as connection:
            for schema, outcome in outcomes.items():
                replay.replay(connection, schema, asked, outcome, dry=dry)
    except (psycopg.Error, replay.NoSuchTable, replay.Contradiction) as error:
        if any(outcome.replayed or outcome.rejected for outcome in outcomes.values()):
            print(said(outcomes, dry=dry))
        what = trouble_of(error, dsn) if isinstance(error, psycopg.Error) else str(error)
        raise StackError(
            f"the replay stopped: {what}. Run it again when that is mended: nothing gets in twice"
        ) from None
    print(said(outcomes, dry=dry))
    return 0


def said(outcomes: Mapping[str, Outcome], *, dry: bool) -> str:
    """A table of what became of the rows of each schema, and a sentence on those that can't be replayed ever."""
    rows = []
    for schema, outcome in outcomes.items():
        replayed, rejected = _by_kind(outcome.replayed), _by_kind(outcome.rejected)
        reasons = sorted(replayed | rejected, key=lambda reason: (-replayed[reason] - rejected[reason], reason))
        rows += [(schema, reason, replayed[reason], rejected[reason]) for reason in reasons]
    if not rows:
        return "nothing to replay: no rejected delivery that wasn't replayed yet is what was asked for"
    lines = [table(["schema", "reason", "would be replayed" if dry else "replayed", "still rejected"], rows)]
    if incomplete := sum(outcome.incomplete for outcome in outcomes.values()):
        lines.append(f"{incomplete} can't be replayed, since not all of their body was kept")
    if dry:
        lines.append("DRY=1: nothing was changed")
    return "\n".join(lines)


def _by_kind(counts: Counter[str]) -> Counter[str]:
    found: Counter[str] = Counter()
    for reason, count in counts.items():
        if count:
            found[_shown(reason)] += count
    return found


def _shown(reason: str) -> str:
    """`reason` in one line, without what differs from one body to the next."""
    text = "".join(character if character.isprintable() else " " for character in kind(reason))
    return text if len(text) <= _WIDEST else text[: _WIDEST - 1] + "…"


# On AWS

# Athena has no transaction over two tables. So the first statement may be run any number of times, as it knows a
# delivery by its sequence, and the second marks what is there: whatever ends them in between, running both again is
# right. Compressed bodies, and what only the receiver's own parser can read, stay where they are.
_ATHENA = """\
MERGE INTO "{schema}"."data" AS d
USING (
  SELECT DISTINCT json_extract_scalar(document, '$.event_id') AS event_id,
    coalesce(
      json_extract_scalar(document, '$.object_type'),
      regexp_extract(json_extract_scalar(document, '$.event_type'), '^(in_app|[^_]+)_.', 1)
    ) AS object_type,
    coalesce(
      json_extract_scalar(document, '$.metric'),
      regexp_extract(json_extract_scalar(document, '$.event_type'), '^(in_app|[^_]+)_(.+)$', 2)
    ) AS metric,
    TRY_CAST(regexp_extract(json_format(json_extract(document, '$.timestamp')), '^-?[0-9]+$') AS BIGINT) AS sent,
    body, came, _sdc_sequence
  FROM (
    SELECT body, TRY(json_parse(body)) AS document, came, _sdc_sequence
    FROM (
      SELECT from_utf8(from_base64(_sdc_raw)) AS body, from_unixtime(_sdc_sequence / 1e9) AS came, _sdc_sequence
      FROM "{schema}"."_sdc_rejected"
      WHERE {condition} AND to_utf8(from_utf8(from_base64(_sdc_raw))) = from_base64(_sdc_raw)
    )
  )
  WHERE json_format(json_extract(document, '$.event_id')) LIKE '"_%"'
    AND length(json_extract_scalar(document, '$.event_id')) <= {max_event_id}
) AS r
ON d._sdc_sequence = r._sdc_sequence AND d.event_id = r.event_id
WHEN NOT MATCHED THEN INSERT
  (event_id, object_type, metric, "timestamp", payload, _sdc_received_at, _sdc_batched_at, _sdc_sequence,
   _sdc_table_version)
VALUES
  (r.event_id, r.object_type, r.metric, r.sent, r.body, r.came, current_timestamp, r._sdc_sequence, {version});

UPDATE "{schema}"."_sdc_rejected" SET _sdc_replayed_at = current_timestamp
WHERE {condition}
  AND _sdc_sequence IN (SELECT _sdc_sequence FROM "{schema}"."data");
"""


def statements(schema: str, asked: Wanted) -> str:
    """The two statements that replay a schema's rows on AWS, for a person to run in this order."""
    conditions = ["_sdc_replayed_at IS NULL", "reason NOT LIKE 'larger than %'"]
    if asked.reason:
        quoted = asked.reason.lower().replace("'", "''")
        conditions.append(f"strpos(lower(reason), '{quoted}') > 0")
    for moment, comparison in ((asked.since, ">="), (asked.until, "<")):
        if moment:
            when = f"from_iso8601_timestamp('{moment.isoformat()}')"
            conditions.append(f"from_unixtime(_sdc_sequence / 1e9) {comparison} {when}")
    return _ATHENA.format(
        schema=schema, condition=" AND ".join(conditions), max_event_id=MAX_EVENT_ID, version=TABLE_VERSION
    )


def refusal(schemas: Sequence[str], asked: Wanted) -> str:
    """Why there is no replay on AWS, and what to run instead."""
    return (
        "on AWS a replay is yours to run, since Athena can't load a row and mark it in one transaction. In Athena, run "
        "these one after another, and both again if one fails; a second run of them adds nothing. Look at what they "
        "did: Sluice doesn't.\n\n" + "\n".join(statements(schema, asked) for schema in schemas).rstrip()
    )
