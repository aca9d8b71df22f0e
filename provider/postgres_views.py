"""The views of a schema in the warehouse: what is there, and how they become what they should be.

Views hold no data, but people put things on them: rights, options such as `security_invoker`, comments, owners,
triggers. Whatever is made anew here gets all of that again, in the same transaction.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from provider.views import View
from provider.warehouse import Connection

# The last line of a view's comment, below what people wrote: the digest of the statement that made it, and how
# PostgreSQL tells the view that came of it.
_MARK = re.compile(r"(?:\n|^)Sluice: ([0-9a-f]{16}) ([0-9a-f]{32})$")


@dataclass(frozen=True)
class Present:
    """A view that is there. digest: of the statement that made it, or "changed" where somebody altered it since."""

    digest: str
    comment: str
    options: tuple[str, ...]
    owner: str


_PRESENT = """
SELECT c.relname, md5(pg_get_viewdef(c.oid)), coalesce(obj_description(c.oid, 'pg_class'), ''),
       coalesce(c.reloptions, '{}'), pg_get_userbyid(c.relowner)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'v'"""


def present(connection: Connection, schema: str) -> dict[str, Present]:
    """The schema's views by name. Needs the settings of `in_schema`, under which a view is always told the same way."""
    found = {}
    for name, definition, comment, options, owner in connection.execute(_PRESENT, [schema]).fetchall():
        mark = _MARK.search(comment)
        digest = mark[1] if mark and mark[2] == definition else "changed"
        found[name] = Present(digest, _MARK.sub("", comment), tuple(options), owner)
    return found


def make(connection: Connection, schema: str, wanted: Mapping[str, View]) -> None:
    """Makes each view that isn't as its digest says. `wanted`: in the order to create them.

    Replaced in place where that can be, so that what people built on them stays. Where columns were taken away or
    changed it can't: then all are made anew. Raises psycopg.Error, DependentObjectsStillExist among them.
    """
    before = present(connection, schema)
    outdated = {name: view for name, view in wanted.items() if name not in before or before[name].digest != view.digest}
    try:
        with connection.transaction():
            for name, view in outdated.items():
                _create(connection, schema, name, view, before.get(name))
    except psycopg.errors.InvalidTableDefinition:
        _make_anew(connection, schema, wanted, before)


def _create(connection: Connection, schema: str, name: str, view: View, before: Present | None) -> None:
    # CREATE OR REPLACE would take away the options that it doesn't name, and with security_invoker the protection of
    # the rows that people may not see.
    connection.execute(view.statement(schema, before.options if before else ()))
    identifier = sql.Identifier(schema, name)
    made = connection.execute("SELECT md5(pg_get_viewdef(%s::regclass))", [identifier.as_string()]).fetchone()
    mark = f"Sluice: {view.digest} {made[0] if made else ''}"
    comment = f"{before.comment}\n{mark}" if before and before.comment else mark
    connection.execute(sql.SQL("COMMENT ON VIEW {} IS {}").format(identifier, sql.Literal(comment)))


def _make_anew(connection: Connection, schema: str, wanted: Mapping[str, View], before: Mapping[str, Present]) -> None:
    names = [name for name in wanted if name in before]
    kept = connection.execute(_PUT_ON_THEM, {"schema": schema, "names": names}).fetchall()
    for name in reversed(names):  # the later ones are built on the first
        connection.execute(sql.SQL("DROP VIEW {}").format(sql.Identifier(schema, name)))
    for name, view in wanted.items():
        _create(connection, schema, name, view, before.get(name))
    me = connection.execute("SELECT current_user::text").fetchone()
    for name in names:
        if (before[name].owner,) != me:
            identifiers = sql.Identifier(schema, name), sql.Identifier(before[name].owner)
            connection.execute(sql.SQL("ALTER VIEW {} OWNER TO {}").format(*identifiers))
    for (statement,) in connection.execute(_RIGHTS_BY_DEFAULT, {"schema": schema, "names": names}).fetchall():
        connection.execute(_trusted(statement))
    columns = set(connection.execute(_COLUMNS, {"schema": schema, "names": names}).fetchall())
    for view_name, column, statement in kept:
        if column is None or (view_name, column) in columns:  # what was on a column goes with it
            connection.execute(_trusted(statement))


def _trusted(statement: str) -> LiteralString:
    """PostgreSQL's own words, with all names quoted by it."""
    return statement


_OUR_VIEWS = """
WITH our AS (
  SELECT c.oid, c.relname, c.relowner, c.relacl, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS view
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = %(schema)s AND c.relname = ANY (%(names)s) AND c.relkind = 'v'
), its AS (
  SELECT our.*, a.attname, a.attnum, a.attacl, quote_ident(a.attname) AS name
  FROM our JOIN pg_attribute a ON a.attrelid = our.oid AND a.attnum > 0 AND NOT a.attisdropped
)"""

# The statements that put on a view again what people had put on it, with the column that each is about.
_PUT_ON_THEM = f"""{_OUR_VIEWS}, granted AS (
  SELECT relname, relowner, NULL::name AS attname, view, '' AS part, a.* FROM our CROSS JOIN aclexplode(relacl) a
  UNION ALL
  SELECT relname, relowner, attname, view, ' (' || name || ')', a.* FROM its CROSS JOIN aclexplode(attacl) a
)
SELECT relname, attname, 'GRANT ' || privilege_type || part || ' ON ' || view || ' TO '
  || coalesce(quote_ident(r.rolname), 'PUBLIC') || CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END
FROM granted LEFT JOIN pg_roles r ON r.oid = grantee
WHERE grantee <> relowner
UNION ALL
SELECT relname, attname, 'COMMENT ON COLUMN ' || view || '.' || name || ' IS '
  || quote_literal(col_description(oid, attnum))
FROM its WHERE col_description(oid, attnum) IS NOT NULL
UNION ALL
SELECT relname, attname, 'ALTER VIEW ' || view || ' ALTER ' || name || ' SET DEFAULT ' || pg_get_expr(adbin, adrelid)
FROM its JOIN pg_attrdef d ON d.adrelid = its.oid AND d.adnum = attnum
UNION ALL
SELECT relname, NULL, pg_get_triggerdef(t.oid) FROM our JOIN pg_trigger t ON t.tgrelid = our.oid AND NOT t.tgisinternal
UNION ALL
SELECT relname, NULL, pg_get_ruledef(r.oid) FROM our JOIN pg_rewrite r ON r.ev_class = our.oid
WHERE r.rulename <> '_RETURN'"""  # noqa: S608 (ours)

# A new view has what ALTER DEFAULT PRIVILEGES gives; of the old one people may have taken that away.
_RIGHTS_BY_DEFAULT = f"""{_OUR_VIEWS}
SELECT DISTINCT 'REVOKE ALL ON ' || view || ' FROM ' || coalesce(quote_ident(r.rolname), 'PUBLIC')
FROM our CROSS JOIN aclexplode(relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee
WHERE a.grantee <> relowner"""  # noqa: S608 (ours)

_COLUMNS = f"{_OUR_VIEWS} SELECT relname, attname FROM its"  # noqa: S608 (ours)
