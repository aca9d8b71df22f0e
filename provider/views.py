"""The PostgreSQL views of an integration's schema, rendered from its source's documented fields.

Views over `jsonb` instead of columns added while loading: no DDL on the hot path, and no column that splits when a
type changes. A value of an unexpected type gives NULL in its column and never an error, since one such value would
otherwise fail every query over the view; what was sent is always in `payload`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from components.customerio import fields as customerio
from components.customerio.fields import Field
from receiver import warehouse
from receiver.registry import Loading

CHANNELS = {"customerio": customerio.CHANNELS}

# Under upsert the key sees to it already. Under append, the row of the highest _sdc_sequence, whatever its batch;
# the anti-join lets a condition on the view reach the table, which a window function over the table would not.
_LATEST: dict[Loading, str] = {
    "upsert": "",
    "append": """
WHERE NOT EXISTS (
  SELECT FROM {schema}.data n
  WHERE n.event_id = d.event_id
    AND (n._sdc_sequence, n._sdc_batched_at, n.ctid) > (d._sdc_sequence, d._sdc_batched_at, d.ctid))""",
}


@dataclass(frozen=True)
class View:
    """A view's `CREATE OR REPLACE VIEW`, with `{schema}` and `{options}` to be filled in."""

    template: str

    @property
    def digest(self) -> str:
        """16 hex digits that change when the view's SQL does."""
        return hashlib.sha256(self.template.encode()).hexdigest()[:16]

    def statement(self, schema: str, options: Sequence[str] = ()) -> sql.Composed:
        """`options`: as PostgreSQL keeps them, such as `security_invoker=true`."""
        having = sql.SQL(f" WITH ({', '.join(options)})" if options else "")
        return sql.SQL(self.template).format(schema=sql.Identifier(schema), options=having)


def views(source: str, loading: Loading) -> dict[str, View]:
    """The views of a schema by name, in the order to create them: the later ones are built on `data_latest`.

    `data_latest` depends on `loading`, its columns don't. Raises KeyError for an unknown source.
    """
    columns = ", ".join(f'd."{column}"' for column in warehouse.DATA_COLUMNS)
    columns += f",\n  {warehouse.OCCURRED_AT} AS occurred_at"
    queries = {"data_latest": f"SELECT {columns}\nFROM {{schema}}.data d{_LATEST[loading]}"}
    queries.update((f"{channel}_events", _channel(channel, its)) for channel, its in CHANNELS[source].items())
    create = "CREATE OR REPLACE VIEW {{schema}}.{}{{options}} AS\n{}"
    return {name: View(create.format(name, query)) for name, query in queries.items()}


def _channel(channel: str, its_fields: tuple[Field, ...]) -> str:
    columns = [
        'd."event_id"',
        'd."object_type"',
        'd."metric"',
        'd."occurred_at"',
        'd."timestamp"',
        *(f'{_typed(field)} AS "{field.column}"' for field in its_fields),
        *(f'd."{column}"' for column in warehouse.DATA_COLUMNS if column.startswith("_sdc_")),
        'd."payload"',
    ]
    lines = ",\n  ".join(columns)
    return f"SELECT\n  {lines}\nFROM {{schema}}.data_latest d\nWHERE d.object_type = '{channel}'"


def _typed(field: Field) -> str:
    """The field's value as its type, or NULL."""
    # Arrows, not `#>` with a path array: they read as the payload does, and give NULL on anything but an object.
    *parents, last = (f"'{name}'" for name in field.path)
    above = "d.payload" + "".join(f"->{name}" for name in parents)
    value, text = f"({above}->{last})", f"({above}->>{last})"
    if field.type == "json":
        return f"NULLIF({value}, 'null'::jsonb)"
    if field.type == "boolean":
        return f"CASE {value} WHEN 'true'::jsonb THEN true WHEN 'false'::jsonb THEN false END"
    if field.type == "text":
        return f"CASE WHEN jsonb_typeof({value}) IN ('string', 'number', 'boolean') THEN {text} END"
    # Only CASE fixes the order of evaluation: no cast may run before its check. Numbers are compared as numeric,
    # which also holds 4.5 and 1e300; of strings, 18 digits always fit a bigint.
    return (
        f"CASE jsonb_typeof({value})"
        f" WHEN 'number' THEN CASE WHEN {value}::numeric BETWEEN -9223372036854775808 AND 9223372036854775807"
        f" AND trunc({value}::numeric) = {value}::numeric THEN {value}::bigint END"
        f" WHEN 'string' THEN CASE WHEN {text} ~ '^-?[0-9]{{{{1,18}}}}$' THEN {text}::bigint END END"
    )
