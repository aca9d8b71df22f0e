"""What the Iceberg tables and Athena views of a schema are declared as; that they work is in
tests/aws/test_tables_and_views.py."""

import base64
import json
import re

import jq
import pytest

from components.aws.tables import TABLES, Field, routing
from components.aws.views import CHANNELS, FUNCTIONS, View, views
from components.customerio import fields
from provider import views as local
from receiver import rows, warehouse
from receiver.aws.records import DATA, REJECTED

DATABASE = "stitch_customerio"
VIEWS = views("customerio", DATABASE)

# The ids that tables have been made with. Lines are only ever added at the end.
IDS = {
    "data": [
        ("event_id", 1),
        ("object_type", 2),
        ("metric", 3),
        ("timestamp", 4),
        ("payload", 5),
        ("_sdc_received_at", 6),
        ("_sdc_batched_at", 7),
        ("_sdc_sequence", 8),
        ("_sdc_table_version", 9),
        ("_sdc_body_uri", 10),
    ],
    "_sdc_rejected": [
        ("_sdc_rejected_at", 1),
        ("table_name", 2),
        ("reason", 3),
        ("record", 4),
        ("_sdc_raw", 5),
        ("_sdc_sequence", 6),
        ("_sdc_replayed_at", 7),
        ("_sdc_body_uri", 8),
    ],
}


@pytest.mark.parametrize(("name", "columns"), [("data", DATA), ("_sdc_rejected", REJECTED)])
def test_a_table_has_the_columns_of_the_records_that_fill_it(name: str, columns: dict[str, rows.Column]) -> None:
    table = TABLES[name]
    assert (table.name, [field.name for field in table.fields]) == (name, list(columns))
    assert {field.name for field in table.fields if field.required} == {
        column for column, its in columns.items() if its.is_required
    }


@pytest.mark.parametrize("name", TABLES)
def test_a_column_keeps_the_id_it_was_made_with(name: str) -> None:
    ids = [(field.name, field.id) for field in TABLES[name].fields]
    assert ids[: len(IDS[name])] == IDS[name], "columns are only ever added, at the end"
    assert [id for _, id in ids] == list(range(1, len(ids) + 1)), "Glue numbers a new table's columns in their order"
    assert not any(field.required for field in TABLES[name].fields[len(IDS[name]) :]), "older rows don't have it"


def test_times_are_instants_and_bodies_are_texts() -> None:
    data = {field.name: field for field in TABLES["data"].fields}
    assert data["_sdc_received_at"] == Field(6, "_sdc_received_at", "timestamptz", True)
    assert data["payload"] == Field(5, "payload", "string", True)
    assert data["timestamp"] == Field(4, "timestamp", "long", False)
    assert {field.name: field.type for field in TABLES["_sdc_rejected"].fields}["_sdc_raw"] == "string"


def test_files_are_divided_by_the_day_of_receipt() -> None:
    assert [
        (its.partition.name, its.partition.transform, its.partition.source_id, its.partition.field_id)
        for its in TABLES.values()
    ] == [("_sdc_received_day", "day", 6, 1000), ("_sdc_rejected_day", "day", 1, 1000)]


def test_no_folder_is_one_that_readers_take_for_hidden() -> None:
    assert [its.folder for its in TABLES.values()] == ["data", "sdc_rejected"]


@pytest.mark.parametrize("database", ["s", "stitch_customerio", '"\\(1/0)" + \\u0041', "é"])
def test_the_routing_says_the_database_as_it_is_called(database: str) -> None:
    (found,) = jq.compile(routing(database)).input_value({"reason": None}).all()
    assert found == {
        "destinationDatabaseName": database,
        "destinationTableName": "_sdc_rejected",
        "operation": "insert",
    }
    (found,) = jq.compile(routing(database)).input_value({"event_id": "reason"}).all()
    assert found["destinationTableName"] == "data"


def test_each_local_view_has_its_twin() -> None:
    assert list(VIEWS) == list(local.views("customerio", "append"))
    assert all("_sdc_body_uri" in [column.name for column in view.columns] for view in VIEWS.values())


def test_data_latest_has_the_tables_columns_and_then_the_time() -> None:
    assert [column.name for column in VIEWS["data_latest"].columns] == [*DATA, "occurred_at"]


def test_the_sources_are_the_local_ones() -> None:
    assert CHANNELS == local.CHANNELS
    with pytest.raises(KeyError):
        views("nosuch", DATABASE)


@pytest.mark.parametrize("name", VIEWS)
def test_the_text_in_the_catalog_holds_the_views_sql_and_types(name: str) -> None:
    view = VIEWS[name]
    assert view.original_text.startswith("/* Presto View: ")
    assert view.original_text.endswith(" */")
    definition = json.loads(base64.b64decode(view.original_text[16:-3], validate=True))
    assert definition == {
        "originalSql": view.sql,
        "catalog": "awsdatacatalog",
        "schema": DATABASE,
        "columns": [{"name": column.name, "type": column.trino} for column in view.columns],
        "runAsInvoker": False,
        "properties": {},
    }
    assert view.expanded_text == "/* Presto View */"
    assert view.parameters == {"presto_view": "true", "comment": "Presto View"}
    assert len(view.original_text) <= 409_600  # Glue, TableInput


def test_a_column_has_one_type_in_two_spellings() -> None:
    spellings = {(column.hive, column.trino) for view in VIEWS.values() for column in view.columns}
    assert spellings == {
        ("string", "varchar"),
        ("bigint", "bigint"),
        ("boolean", "boolean"),
        ("timestamp", "timestamp(3)"),
    }


def test_a_view_is_the_same_each_time_it_is_rendered() -> None:
    again = views("customerio", DATABASE)
    assert {name: view.original_text for name, view in again.items()} == {
        name: view.original_text for name, view in VIEWS.items()
    }


def test_views_name_the_database_whose_they_are() -> None:
    def without(view: View, database: str) -> tuple[str, object]:
        assert f'"{database}".' in view.sql
        return view.sql.replace(f'"{database}"', ""), view.columns

    assert [without(view, "other") for view in views("customerio", "other").values()] == [
        without(view, DATABASE) for view in VIEWS.values()
    ]


def test_times_end_where_they_end_in_postgresql() -> None:
    (bounds,) = re.findall(r"BETWEEN (-?\d+) AND (-?\d+)", warehouse.OCCURRED_AT)
    assert f'd."timestamp" BETWEEN {bounds[0]} AND {bounds[1]}' in VIEWS["data_latest"].sql


def test_fields_are_named_so_that_a_json_path_needs_no_quotes() -> None:
    names = {name for its in fields.CHANNELS.values() for field in its for name in field.path}
    assert all(re.fullmatch("[a-z][a-z0-9_]*", name) for name in names)


def test_functions_are_named_as_trino_writes_them() -> None:
    assert all(re.fullmatch("[a-z_]+", name) for name in FUNCTIONS)
