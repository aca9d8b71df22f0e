"""The tables of a schema on a real PostgreSQL: what is made, what is mended, what is refused."""

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from receiver import warehouse
from receiver.registry import Loading
from receiver.spool import SpooledRow
from receiver.warehouse import Connection, DuplicatesPresent, LoadingError

NOW = 1_790_000_000_000_000  # microseconds


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA s")
        yield connection


def row(sequence: int, event_id: str | None = None, **values: Any) -> SpooledRow:
    event_id = event_id or f"e{sequence}"
    body = json.dumps({"event_id": event_id, "n": sequence}).encode()
    return SpooledRow(sequence, "s", NOW, event_id, "email", "sent", 1_790_000_000, body, None)._replace(**values)


def insert(connection: Connection, loading: Loading, *rows: SpooledRow) -> None:
    warehouse.insert_events(connection, "s", loading, rows)


def rows_of(connection: Connection, query: str) -> list[tuple[object, ...]]:
    return connection.execute(query).fetchall()


@pytest.mark.parametrize("loading", ["upsert", "append"])
def test_tables_are_made_with_stitchs_columns_and_making_them_again_changes_nothing(
    connection: Connection, loading: Loading
) -> None:
    warehouse.create_tables(connection, "s", loading)
    found = warehouse.describe(connection, "s")
    assert found.exists
    assert found.loading == loading
    assert found.missing() == found.mismatches() == []
    assert list(found.tables["data"]) == list(warehouse.DATA_COLUMNS)
    assert found.tables["_sdc_rejected"]["_sdc_raw"] == "bytea"
    insert(connection, loading, row(1))
    warehouse.create_tables(connection, "s", loading)
    assert warehouse.describe(connection, "s") == found
    assert rows_of(connection, "SELECT event_id FROM s.data") == [("e1",)]


def test_a_schema_that_is_not_there_is_described_as_such(connection: Connection) -> None:
    assert not warehouse.describe(connection, "nowhere").exists
    found = warehouse.describe(connection, "s")
    assert (found.exists, found.loading, found.tables) == (True, None, {})
    assert found.missing() == ["data", "_sdc_rejected", "_sdc_spools", "data_sdc_sequence", "data_occurred_at"]


def test_a_dropped_table_or_index_is_noticed_and_made_again_without_touching_a_row(connection: Connection) -> None:
    warehouse.create_tables(connection, "s", "upsert")
    insert(connection, "upsert", row(1))
    connection.execute("DROP TABLE s._sdc_rejected; DROP INDEX s.data_occurred_at")
    assert warehouse.describe(connection, "s").missing() == ["_sdc_rejected", "data_occurred_at"]
    warehouse.create_tables(connection, "s", "upsert")
    assert warehouse.describe(connection, "s").missing() == []
    assert rows_of(connection, "SELECT event_id FROM s.data") == [("e1",)]


def test_a_repair_that_has_nothing_to_do_does_not_wait_for_the_loader(connection: Connection, dsn: str) -> None:
    warehouse.create_tables(connection, "s", "upsert")
    with psycopg.connect(dsn) as loading:
        insert(loading, "upsert", row(1))  # and no commit yet
        connection.execute("SET lock_timeout = '200ms'")
        warehouse.create_tables(connection, "s", "upsert")
        with pytest.raises(psycopg.errors.LockNotAvailable):  # the control: this is what would have waited
            connection.execute("CREATE INDEX IF NOT EXISTS data_occurred_at ON s.data (event_id)")


def test_a_table_of_another_shape_is_refused_and_left_as_it_is(connection: Connection) -> None:
    connection.execute("CREATE TABLE s.data (event_id integer, metric text)")
    with pytest.raises(LoadingError, match=r"data\.event_id is integer, not text; data has no column object_type"):
        warehouse.create_tables(connection, "s", "upsert")
    assert list(warehouse.describe(connection, "s").tables) == ["data"]


def test_a_database_that_cannot_hold_every_character_is_refused(
    connection: Connection,
    dsn: str,
) -> None:
    connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with psycopg.connect(dsn, dbname="latin", autocommit=True) as latin:
            latin.execute("CREATE SCHEMA s")
            with pytest.raises(LoadingError, match="LATIN1"):
                warehouse.create_tables(latin, "s", "upsert")
    finally:
        connection.execute("DROP DATABASE latin")


# Loading modes


def test_append_does_not_become_upsert_while_an_event_has_two_rows_and_the_error_holds_the_query(
    connection: Connection,
) -> None:
    warehouse.create_tables(connection, "s", "append")
    insert(connection, "append", row(1), row(2, "twice"), row(3, "twice"))
    before = warehouse.describe(connection, "s")
    with pytest.raises(DuplicatesPresent) as refused:
        warehouse.create_tables(connection, "s", "upsert")
    assert warehouse.describe(connection, "s") == before
    assert refused.value.query in str(refused.value)
    assert rows_of(connection, refused.value.query) == [("twice", 2)]
    connection.execute("DELETE FROM s.data WHERE _sdc_sequence = 2")
    warehouse.create_tables(connection, "s", "upsert")
    found = warehouse.describe(connection, "s")
    assert (found.loading, "data_event_id_sequence" in found.indexes) == ("upsert", False)
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(connection, "append", row(4, "twice"))


def test_upsert_becomes_append_by_losing_its_key_and_nothing_else(connection: Connection) -> None:
    warehouse.create_tables(connection, "s", "upsert")
    insert(connection, "upsert", row(1, "a"))
    warehouse.set_loading(connection, "s", "append")
    warehouse.set_loading(connection, "s", "append")
    found = warehouse.describe(connection, "s")
    assert (found.loading, found.missing()) == ("append", [])
    insert(connection, "append", row(2, "a"))
    with pytest.raises(psycopg.errors.NotNullViolation):
        insert(connection, "append", row(3)._replace(event_id=None))
    assert rows_of(connection, "SELECT event_id, _sdc_sequence FROM s.data ORDER BY 2") == [("a", 1), ("a", 2)]


def test_names_are_quoted_and_a_schema_may_be_called_anything(connection: Connection) -> None:
    odd = 'Grüße"; DROP TABLE x; --'
    connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(odd)))
    warehouse.create_tables(connection, odd, "append")
    warehouse.insert_events(connection, odd, "append", [row(1), row(2, "e1")])
    with pytest.raises(DuplicatesPresent) as refused:
        warehouse.set_loading(connection, odd, "upsert")
    assert rows_of(connection, refused.value.query) == [("e1", 2)]


# Rows


def test_every_column_of_an_event_is_filled(connection: Connection) -> None:
    warehouse.create_tables(connection, "s", "upsert")
    insert(connection, "upsert", row(7), row(8, object_type=None, metric=None, timestamp=None))
    assert rows_of(
        connection,
        "SELECT event_id, object_type, metric, timestamp, payload, extract(epoch FROM _sdc_received_at) * 1000000,"
        " now() - _sdc_batched_at < '1 minute', _sdc_sequence, _sdc_table_version FROM s.data ORDER BY _sdc_sequence",
    ) == [
        ("e7", "email", "sent", 1_790_000_000, {"event_id": "e7", "n": 7}, NOW, True, 7, 1),
        ("e8", None, None, None, {"event_id": "e8", "n": 8}, NOW, True, 8, 1),
    ]


def test_a_batch_whose_rows_all_lack_a_value_goes_in(connection: Connection) -> None:
    warehouse.create_tables(connection, "s", "append")
    insert(connection, "append", row(1, timestamp=None, object_type=None), row(2, timestamp=None, object_type=None))
    assert rows_of(connection, "SELECT object_type, timestamp FROM s.data") == [(None, None)] * 2


def test_under_upsert_the_highest_sequence_stays_whatever_the_order_of_arrival(connection: Connection) -> None:
    warehouse.create_tables(connection, "s", "upsert")
    insert(connection, "upsert", row(5, "a"), row(6, "b"), row(7, "a"))
    insert(connection, "upsert", row(3, "a"), row(8, "b"))
    assert rows_of(connection, "SELECT event_id, _sdc_sequence, payload->'n' FROM s.data ORDER BY 1") == [
        ("a", 7, 7),
        ("b", 8, 8),
    ]


def test_rejects_take_any_bytes(connection: Connection) -> None:
    warehouse.create_tables(connection, "s", "upsert")
    bodies = [b"\xff\x00{", b"x" * 300_000, b'{"a":"\\ud800"}', b""]
    rejects = [row(n, body=body, reason="why \0 \ud800") for n, body in enumerate(bodies)]
    warehouse.insert_rejects(connection, "s", rejects)
    found = rows_of(
        connection,
        "SELECT _sdc_raw, record, reason, table_name, _sdc_replayed_at, now() - _sdc_rejected_at < '1 minute'"
        " FROM s._sdc_rejected ORDER BY _sdc_sequence",
    )
    assert [raw for raw, *_ in found] == bodies
    assert [record for _, record, *_ in found] == ["�\\u0000{", "x" * 65_536, '{"a":"\\ud800"}', ""]
    assert {rest for _, _, *rest_ in found for rest in [tuple(rest_)]} == {("why \\u0000 \\ud800", "data", None, True)}
    assert warehouse.rejected_among(connection, "s", [0, 3, 4]) == 2


# Bookkeeping


def test_a_spools_rows_are_claimed_once_and_each_spool_has_its_own_count(connection: Connection) -> None:
    warehouse.create_tables(connection, "s", "append")
    assert warehouse.last_sequence(connection, "s", "one") == 0
    assert warehouse.claim(connection, "s", "one", 10, 20)
    assert not warehouse.claim(connection, "s", "one", 10, 20)
    assert not warehouse.claim(connection, "s", "one", 20, 30)
    assert warehouse.last_sequence(connection, "s", "one") == 20
    assert warehouse.claim(connection, "s", "one", 21, 30)
    assert warehouse.claim(connection, "s", "two", 1, 2)
    assert warehouse.last_sequence(connection, "s", "one") == 30


@pytest.mark.parametrize("before", [0, 9])
def test_a_claim_waits_for_one_that_is_still_to_be_committed(connection: Connection, dsn: str, before: int) -> None:
    # A loader that was killed during its commit leaves it to its server process, and the next loader may be faster.
    warehouse.create_tables(connection, "s", "append")
    if before:
        warehouse.claim(connection, "s", "one", 1, before)
    with psycopg.connect(dsn) as killed:
        assert warehouse.claim(killed, "s", "one", 10, 20)
        connection.execute("SET lock_timeout = '200ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            warehouse.claim(connection, "s", "one", 10, 20)
    assert not warehouse.claim(connection, "s", "one", 10, 20)
