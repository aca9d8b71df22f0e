"""The Athena views of an integration's schema, rendered from its source's documented fields: the twins of the local
platform's (`provider/views.py`), with the same columns in the same order, and `_sdc_body_uri`.

As there, a value of an unexpected type gives NULL in its column and never an error. The answers are PostgreSQL's (the
tests compare them in DuckDB; compared once on Trino 422 as well, which Athena's engine 3 descends from), but for these:

- Times are in UTC, rounded to milliseconds: Hive, whose types a view in the Glue catalog has, knows no time zone.
- A number in a `text` column is as it was sent (`1e2`, `-0`); PostgreSQL shows it as a decimal (`100`, `0`).
- Numbers with a fraction or exponent go through a double in `bigint` and `json` columns: digits beyond the 16th or
  so are lost, and in `bigint` what is nearer than that to a whole number is taken for it (1e-300 for 0).
- Of a name that an object has twice, Trino takes the first value, PostgreSQL (and the receiver) the last.
- `json` columns are texts, with an object's names in the order they were sent in.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from components.customerio import fields as customerio
from components.customerio.fields import Field
from receiver.aws.records import DATA
from receiver.rows import EARLIEST, LATEST, Type

CHANNELS = {"customerio": customerio.CHANNELS}

# All functions that the views call, by the page of Trino's documentation that has them
# (https://trino.io/docs/current/functions/<page>.html). Athena engine 3 has them as they are there: "Athena engine
# version 3 functions" (docs.aws.amazon.com/athena/latest/ug/functions-env3.html) points to these very pages.
FUNCTIONS: dict[str, str] = {
    "json_extract": "json",
    "json_extract_scalar": "json",
    "json_format": "json",
    "regexp_extract": "regexp",
    "substr": "string",
    "truncate": "math",
    "cast": "conversion",
    "try_cast": "conversion",
    "coalesce": "conditional",
    "nullif": "conditional",
    "from_unixtime": "datetime",
    "row_number": "window",
}


class Types(NamedTuple):
    """A view's column has two types: the catalog shows Hive's, queries go by Trino's."""

    hive: str
    trino: str


_TEXT = Types("string", "varchar")
_BIGINT = Types("bigint", "bigint")
_BOOLEAN = Types("boolean", "boolean")
_TIMESTAMP = Types("timestamp", "timestamp(3)")

_OF_ROWS: dict[Type, Types] = {
    "text": _TEXT,
    "bigint": _BIGINT,
    "json": _TEXT,
    "timestamp": _TIMESTAMP,
    "bytes": _TEXT,
}
_OF_FIELDS: dict[customerio.Type, Types] = {"text": _TEXT, "bigint": _BIGINT, "boolean": _BOOLEAN, "json": _TEXT}


class ViewColumn(NamedTuple):
    name: str
    hive: str
    trino: str


@dataclass(frozen=True)
class View:
    """A view as a table of the Glue catalog, of type VIRTUAL_VIEW.

    The form is Athena's own (what `CREATE VIEW` leaves in the catalog); its documentation doesn't describe it.
    """

    database: str
    sql: str
    columns: tuple[ViewColumn, ...]
    expanded_text: ClassVar[str] = "/* Presto View */"
    parameters: ClassVar[Mapping[str, str]] = {"presto_view": "true", "comment": "Presto View"}

    @property
    def original_text(self) -> str:
        definition = {
            "originalSql": self.sql,
            "catalog": "awsdatacatalog",
            "schema": self.database,
            "columns": [{"name": column.name, "type": column.trino} for column in self.columns],
            "runAsInvoker": False,
            "properties": {},
        }
        encoded = base64.b64encode(json.dumps(definition).encode()).decode()
        return f"/* Presto View: {encoded} */"


def views(source: str, database: str) -> dict[str, View]:
    """The views of a database by name, in the order to create them: the later ones are built on `data_latest`.

    Raises KeyError for an unknown source.
    """
    made = {"data_latest": _latest(database)}
    made.update((f"{channel}_events", _channel(channel, its, database)) for channel, its in CHANNELS[source].items())
    return made


class _Selected(NamedTuple):
    """A column of a view, and how it is made from relation `d`."""

    expression: str
    name: str
    types: Types


def _latest(database: str) -> View:
    """One row per event_id, as `data` has every delivery: the one of the highest _sdc_sequence, whatever its batch."""
    selected = [_selected(column) for column in DATA]
    # Trino's from_unixtime doesn't overflow within these bounds.
    occurred_at = (
        f'CASE WHEN d."timestamp" BETWEEN {EARLIEST} AND {LATEST}'
        " THEN CAST(from_unixtime(d.\"timestamp\") AT TIME ZONE 'UTC' AS timestamp(3)) END"
    )
    selected.append(_Selected(occurred_at, "occurred_at", _TIMESTAMP))
    columns = ", ".join(f'"{column}"' for column in DATA)
    return _view(database, selected, _NUMBERED.format(columns=columns, database=database))


# A condition on the view reads all of `data`, but one on event_id: what came last of an event isn't known before.
_NUMBERED = """(
  SELECT {columns},
    row_number() OVER (PARTITION BY event_id ORDER BY _sdc_sequence DESC, _sdc_batched_at DESC) AS nth
  FROM "{database}"."data"
) d
WHERE d.nth = 1"""


def _channel(channel: str, its_fields: tuple[Field, ...], database: str) -> View:
    selected = [
        *(_as_it_is(name) for name in ("event_id", "object_type", "metric")),
        _Selected('d."occurred_at"', "occurred_at", _TIMESTAMP),
        _as_it_is("timestamp"),
        *(_Selected(_typed(field), field.column, _OF_FIELDS[field.type]) for field in its_fields),
        *(_as_it_is(column) for column in DATA if column.startswith("_sdc_")),
        _as_it_is("payload"),
    ]
    return _view(database, selected, f'"{database}"."data_latest" d\nWHERE d."object_type" = \'{channel}\'')


def _view(database: str, selected: Iterable[_Selected], source: str) -> View:
    selected = tuple(selected)
    lines = ",\n  ".join(f'{expression} AS "{name}"' for expression, name, _ in selected)
    columns = tuple(ViewColumn(name, *types) for _, name, types in selected)
    return View(database, f"SELECT\n  {lines}\nFROM {source}", columns)


def _selected(column: str) -> _Selected:
    """A column of the table: its times come with a time zone, which a view can't have."""
    as_it_is = _as_it_is(column)
    if DATA[column].type != "timestamp":
        return as_it_is
    return as_it_is._replace(expression=f"CAST({as_it_is.expression} AT TIME ZONE 'UTC' AS timestamp(3))")


def _as_it_is(column: str) -> _Selected:
    return _Selected(f'd."{column}"', column, _OF_ROWS[DATA[column].type])


def _typed(field: Field) -> str:
    """The field's value as its type, or NULL."""
    path = f"'$.{'.'.join(field.path)}'"
    # The value as JSON tells the types apart: a string starts with a quote, and so on. NULL where there is no value
    # (a part of the path is missing, or isn't an object), and the text null for JSON's.
    value = f'json_format(json_extract(d."payload", {path}))'
    if field.type == "json":
        return f"nullif({value}, 'null')"
    if field.type == "boolean":
        return f"CASE {value} WHEN 'true' THEN true WHEN 'false' THEN false END"
    if field.type == "text":
        # "The value must be a scalar", says Trino; it gives NULL for others, but that is not a promise of Athena's.
        scalar = f'json_extract_scalar(d."payload", {path})'
        return f"CASE WHEN substr({value}, 1, 1) NOT IN ('{{', '[') THEN {scalar} END"
    # A string of digits (18 of them always fit), or a number that is whole and fits: 19 digits before the point and
    # 19 after it hold every bigint, and whether anything is left behind the point.
    number = f"try_cast(regexp_extract({value}, '^[-0-9].*') AS decimal(38, 19))"
    return (
        f"coalesce(try_cast(regexp_extract({value}, '^\"(-?[0-9]{{1,18}})\"$', 1) AS bigint),"
        f" CASE WHEN {number} = truncate({number}) THEN try_cast({number} AS bigint) END)"
    )
