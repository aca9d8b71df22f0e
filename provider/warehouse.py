"""How the provider reaches a stack's warehouse, embedded or given, and changes a schema that others use meanwhile.

Every reader queues up behind whoever waits for an exclusive lock. So a change waits for its locks for moments only,
gives way, and tries again; when that lasts, the error names who is in the way.
"""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from provider.resource import ResourceError

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 200
"""Less than PostgreSQL's deadlock_timeout (1 s): in a deadlock it is the change that gives way."""
LOCK_PATIENCE_S = 30.0
LOCK_PAUSE_S = 0.5

Connection = psycopg.Connection[Any]
T = TypeVar("T")

# In each transaction, not once a connection: poolers hand a session from one client to the next. With a search_path of
# the role's, pg_get_viewdef would tell the same view in other words.
_SETTINGS = """
SELECT set_config('lock_timeout', %s, true), set_config('search_path', 'pg_catalog', true),
       set_config('quote_all_identifiers', 'off', true)"""

_GIVE_WAY = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)


def connect(dsn: str, **options: Any) -> Connection:
    """A connection, which prepares no statements: poolers may hand the next one to another session.

    Raises ResourceError, without the password.
    """
    try:
        return psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S, prepare_threshold=None, **options)
    except psycopg.OperationalError as error:
        raise ResourceError(
            f"the warehouse can't be reached ({' '.join(str(error).split()).rstrip('?')}): "
            "if it is the embedded one, make up starts it; else see sluice:warehouseDsn"
        ) from None
    except psycopg.ProgrammingError:  # its message may quote the DSN, password and all
        raise ResourceError(
            "sluice:warehouseDsn can't be read: it should look like postgresql://user:password@host:5432/database"
        ) from None


def is_another(before: str, now: str) -> bool:
    """Whether the DSNs lead to two databases, as far as they tell: a new password or port makes no other one."""
    parts = conninfo_to_dict(before), conninfo_to_dict(now)

    def same(*names: str) -> bool:
        return all(parts[0].get(name) == parts[1].get(name) for name in names)

    return not (same("host", "dbname") and (same("port") or same("user", "password")))


def in_schema(dsn: str, schema: str, aim: str, action: Callable[[Connection], T]) -> T:
    """What `action` returns, done in one transaction, and again while others are in the way.

    aim: what `action` is for, after "can't be", such as "made". Raises ResourceError.
    """
    with connect(dsn, autocommit=True) as connection:
        give_up = time.monotonic() + LOCK_PATIENCE_S
        while True:
            try:
                with connection.transaction():
                    connection.execute(_SETTINGS, [f"{LOCK_TIMEOUT_MS}ms"])
                    return action(connection)
            except _GIVE_WAY:
                if time.monotonic() > give_up:
                    raise ResourceError(
                        f"schema {schema} can't be {aim}, as others use it: {_in_the_way(connection, schema)}. Wait "
                        "for that to end or end it with SELECT pg_terminate_backend(pid), then run `up` again. Nothing "
                        "was changed"
                    ) from None
                time.sleep(LOCK_PAUSE_S)
            except psycopg.errors.QueryCanceled:
                raise ResourceError(f"schema {schema} can't be {aim}: {_why_canceled(connection)}") from None
            except psycopg.Error as error:
                detail = error.diag.message_primary or type(error).__name__
                raise ResourceError(f"schema {schema} can't be {aim}: {detail}") from None


# Of other roles' sessions, who may not see more sees pid and role alone.
_HOLDERS = """
SELECT l.pid, a.usename, a.application_name, a.state, extract(epoch FROM now() - a.xact_start)::bigint,
       string_agg(DISTINCT c.relname, ', ')
FROM pg_locks l
JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_database d ON d.oid = l.database AND d.datname = current_database()
LEFT JOIN pg_stat_activity a ON a.pid = l.pid
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v') AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid()
GROUP BY 1, 2, 3, 4, a.xact_start
ORDER BY a.xact_start NULLS LAST"""


def _in_the_way(connection: Connection, schema: str) -> str:
    """Who holds locks in the schema, longest first."""
    found = []
    for pid, role, application, state, seconds, relations in connection.execute(_HOLDERS, [schema]).fetchall():
        if pid is None:
            found.append(f"a prepared transaction (see pg_prepared_xacts) holds {relations}")
            continue
        facts = [f"role {role}", *([application] if application else []), *([state] if state else [])]
        since = "" if seconds is None else f" since {seconds} s"
        found.append(f"pid {pid} ({', '.join(facts)}{since}) holds {relations}")
    return "; ".join(found) or "they have just let go of it"


def _why_canceled(connection: Connection) -> str:
    row = connection.execute("SELECT current_setting('statement_timeout'), current_user").fetchone()
    timeout, role = row or ("0", "")
    if timeout == "0":
        return "somebody canceled the statement. Nothing was changed"
    return (
        f"the warehouse's statement_timeout ({timeout}) ended the statement. Nothing was changed: give the role more "
        f"time (ALTER ROLE {role} SET statement_timeout = '10min'), and run `up` again"
    )
