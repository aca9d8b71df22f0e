"""The words that no schema can be named: a query that names it would have to quote it, and the documented ones don't.

One list for both platforms, as a stack may move from one to the other under the same names.
"""

# What PostgreSQL 15 to 18 take for no schema's name without quotes: `SELECT word FROM pg_get_keywords() WHERE catcode
# IN ('R', 'T')`.
_POSTGRESQL = """
all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation column
concurrently constraint create cross current_catalog current_date current_role current_schema current_time
current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze from
full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit localtime
localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references returning
right select session_user similar some symmetric system_user table tablesample then to trailing true union unique user
using variadic verbose when where window with
"""

# Amazon Athena User Guide, "Escape reserved keywords in queries": those of DDL statements, then those of SELECT.
_ATHENA = """
all alter and array as authorization between bigint binary boolean both by case cashe cast char column commit conf
constraint create cross cube current current_date current_timestamp cursor database date dayofweek decimal delete
describe distinct div double drop else end exchange exists extended external extract false fetch float floor following
for foreign from full function grant group grouping having if import in inner insert int integer intersect interval into
is join lateral left less like local macro map more none not null numeric of on only or order out outer over partialscan
partition percent preceding precision preserve primary procedure range reads reduce references regexp revoke right rlike
rollback rollup row rows select set smallint start table tablesample then time timestamp to transform trigger true
truncate unbounded union uniquejoin update user using utc_timestamp values varchar views when where window with
alter and as between by case cast constraint create cross cube current_catalog current_date current_path current_schema
current_time current_timestamp current_user deallocate delete describe distinct drop else end escape except execute
exists extract false first for from full group grouping having in inner insert intersect into is join json_array
json_exists json_object json_query json_table json_value last left like listagg localtime localtimestamp natural
normalize not null on or order outer prepare recursive right rollup select skip table then trim true uescape union
unnest using values when where with
"""

RESERVED_WORDS = frozenset(_POSTGRESQL.split()) | frozenset(_ATHENA.split())
