"""Loads rows of `_sdc_rejected` once more, after whatever they were rejected for was mended.

What it promises: an event is loaded and its row marked `_sdc_replayed_at` in one transaction, with the row locked, so
that it gets into `data` once, also under `append`, whenever a replay is killed and however many run at a time. A row
that still can't be used stays as it is, and costs no other row.

The row keeps its `_sdc_sequence`: under `upsert`, and in `data_latest`, an event that came again since then stays.
"""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import psycopg
from psycopg import sql

from receiver import warehouse
from receiver.event import Event, Rejection, parse
from receiver.loader import is_fault_of_data
from receiver.registry import Loading
from receiver.rejects import kind
from receiver.spool import SpooledRow
from receiver.warehouse import Connection

KEYS = 50_000  # found at a time: finding them reads the whole table, which needs no index for this alone
# A batch, which the loader may have to wait for where it has the same events: some tens of milliseconds.
BATCH_ROWS = 500
BATCH_BYTES = 4 * 2**20
PATIENCE_SECONDS = 30.0
PAUSE_SECONDS = 0.2

# Less than the loader waits for a lock, so that it is the replay that gives way.
_GUARDS = "SELECT set_config('lock_timeout', '150ms', true), set_config('statement_timeout', '30s', true)"
_GIVE_WAY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)

# The reasons of a body that isn't kept whole; a body that grew too large by decompression is.
_CUT = re.compile(r"larger than \d+ bytes(, of which the first are kept)?")


class NoSuchTable(Exception):
    """The schema isn't in this warehouse, or has no tables of Sluice's."""


class Contradiction(Exception):
    """What was loaded couldn't be marked, so nothing of the batch was kept. Something else changes these rows."""


class Wanted(NamedTuple):
    """Which rows: those whose reason holds `reason`, in any case of letters, and that came in [since, until)."""

    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass
class Outcome:
    """What became of the rows, by the kind of reason that they were rejected for: of reasons there are too many."""

    replayed: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)  # the incomplete ones included
    incomplete: int = 0  # of those still rejected: the body was cut, or isn't there

    def add(self, other: "Outcome") -> None:
        self.replayed.update(other.replayed)
        self.rejected.update(other.rejected)
        self.incomplete += other.incomplete


class _Key(NamedTuple):
    """A row of `_sdc_rejected`. `place` is its ctid, which only a row that nobody changed since then still has."""

    sequence: int
    place: str
    reason: str
    size: int | None


class _Ready(NamedTuple):
    """A row that is an event now."""

    place: str
    reason: str
    row: SpooledRow


def replay(connection: Connection, schema: str, wanted: Wanted, outcome: Outcome, *, dry: bool = False) -> None:
    """Replays the rows of `schema`; `connection` is in autocommit mode. With `dry`, does the same and undoes it.

    `outcome` is added to after every commit, so that it is right also after an error: NoSuchTable, Contradiction or
    psycopg.Error. It can then simply be run again.
    """
    loading = warehouse.describe(connection, schema).loading
    if loading is None:
        raise NoSuchTable(f"the warehouse has no table {schema}.data")
    for keys in _batches(_keys(connection, schema, wanted), outcome):
        outcome.add(_patiently(connection, schema, loading, keys, dry))


def parsed(body: bytes) -> Event | Rejection:
    """`body` as the receiver would take it now. Its Content-Encoding isn't kept, but no JSON object begins as a
    compressed body does."""
    plain = parse(body, "")
    if isinstance(plain, Event):
        return plain
    for encoding in ("gzip", "deflate"):
        found = parse(body, encoding)
        if isinstance(found, Event):
            return found
    return plain


# Which rows

# When it came: the sequence says it to the millisecond, in nanoseconds, unless the receiver's clock was set back.
_CAME = "least('epoch'::timestamptz + (_sdc_sequence / 1000) * interval '1 microsecond', _sdc_rejected_at)"

_KEYS = """
SELECT _sdc_sequence, ctid::text, coalesce(reason, ''), octet_length(_sdc_raw)
FROM {schema}._sdc_rejected
WHERE _sdc_replayed_at IS NULL AND (_sdc_sequence, ctid) > (%(sequence)s, %(place)s::tid)
  AND position(lower(%(reason)s) IN lower(coalesce(reason, ''))) > 0
  AND (%(since)s::timestamptz IS NULL OR {came} >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR {came} < %(until)s)
ORDER BY _sdc_sequence, _sdc_rejected.ctid
LIMIT %(limit)s"""


def _keys(connection: Connection, schema: str, wanted: Wanted) -> Iterator[_Key]:
    query = sql.SQL(_KEYS).format(schema=sql.Identifier(schema), came=sql.SQL(_CAME))
    last = _Key(-(2**63), "(0,0)", "", None)
    while True:
        asked = {**wanted._asdict(), "sequence": last.sequence, "place": last.place, "limit": KEYS}
        rows = connection.execute(query, asked).fetchall()
        found = [_Key(sequence, place, kind(reason), size) for sequence, place, reason, size in rows]
        yield from found
        if len(found) < KEYS:
            return
        last = found[-1]


def _batches(keys: Iterable[_Key], outcome: Outcome) -> Iterator[list[_Key]]:
    """The rows with a whole body, in batches; the others are counted at once."""
    batch: list[_Key] = []
    size = 0
    for key in keys:
        if key.size is None or _CUT.fullmatch(key.reason):
            outcome.rejected[key.reason] += 1
            outcome.incomplete += 1
            continue
        if batch and (len(batch) == BATCH_ROWS or size + key.size > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += key.size
    if batch:
        yield batch


# One batch


def _patiently(connection: Connection, schema: str, loading: Loading, keys: Sequence[_Key], dry: bool) -> Outcome:
    """`_replay`, tried again while others have the rows locked."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return _replay(connection, schema, loading, keys, dry)
        except _GIVE_WAY:
            if time.monotonic() > give_up:
                raise
            time.sleep(PAUSE_SECONDS)


def _replay(connection: Connection, schema: str, loading: Loading, keys: Sequence[_Key], dry: bool) -> Outcome:
    """One transaction. Rows that another replay has had meanwhile are left out."""
    outcome = Outcome()
    with connection.transaction():
        connection.execute(_GUARDS)
        ready: list[_Ready] = []
        size = 0
        for place, reason, raw, received, sequence in _lock(connection, schema, keys):
            event = parsed(raw)
            if not isinstance(event, Event):
                outcome.rejected[kind(reason)] += 1
                continue
            if size + len(event.body) > BATCH_BYTES:  # it was compressed, a thousandfold perhaps
                outcome.add(_load(connection, schema, loading, ready))
                ready, size = [], 0
            ready.append(_Ready(place, kind(reason), SpooledRow(sequence, schema, received, *event, None)))
            size += len(event.body)
        outcome.add(_load(connection, schema, loading, ready))
        if dry:
            raise psycopg.Rollback
    return outcome


def _load(connection: Connection, schema: str, loading: Loading, ready: Sequence[_Ready]) -> Outcome:
    """Puts the rows into `data`, and marks those that the warehouse took."""
    taken = _insert(connection, schema, loading, ready)
    _mark(connection, schema, taken)
    replayed = Counter(each.reason for each in taken)
    return Outcome(replayed, Counter(each.reason for each in ready) - replayed)


_LOCK = """
SELECT ctid::text, coalesce(reason, ''), _sdc_raw, (extract(epoch FROM {came}) * 1000000)::int8, _sdc_sequence
FROM {schema}._sdc_rejected
WHERE ctid = ANY(%s::tid[]) AND _sdc_sequence = ANY(%s) AND _sdc_replayed_at IS NULL AND _sdc_raw IS NOT NULL
FOR UPDATE"""


def _lock(connection: Connection, schema: str, keys: Sequence[_Key]) -> list[tuple[str, str, bytes, int, int]]:
    """Those of the rows that still wait, in the order of their sequences: nobody else can mark them now."""
    query = sql.SQL(_LOCK).format(schema=sql.Identifier(schema), came=sql.SQL(_CAME))
    asked = [[key.place for key in keys], [key.sequence for key in keys]]
    rows = connection.execute(query, asked, binary=True).fetchall()
    return sorted(rows, key=lambda row: row[-1])


def _insert(connection: Connection, schema: str, loading: Loading, ready: Sequence[_Ready]) -> list[_Ready]:
    """Puts the rows into `data` but for those that the warehouse refuses; returns the ones it took."""
    if not ready:
        return []
    try:
        with connection.transaction():  # a savepoint: what was done before stays
            warehouse.insert_events(connection, schema, loading, [each.row for each in ready])
        return list(ready)
    except (psycopg.Error, UnicodeError) as error:
        if connection.closed or not is_fault_of_data(error):
            raise
    if len(ready) == 1:
        return []
    half = len(ready) // 2
    return [
        *_insert(connection, schema, loading, ready[:half]),
        *_insert(connection, schema, loading, ready[half:]),
    ]


_MARK = """
UPDATE {schema}._sdc_rejected SET _sdc_replayed_at = now()
WHERE ctid = ANY(%s::tid[]) AND _sdc_sequence = ANY(%s) AND _sdc_replayed_at IS NULL"""


def _mark(connection: Connection, schema: str, taken: Sequence[_Ready]) -> None:
    if not taken:
        return
    statement = sql.SQL(_MARK).format(schema=sql.Identifier(schema))
    asked = [[each.place for each in taken], [each.row.sequence for each in taken]]
    marked = connection.execute(statement, asked).rowcount
    if marked != len(taken):
        raise Contradiction(f"{marked} of {len(taken)} rows of {schema}._sdc_rejected could be marked")
