"""`make sql` on PostgreSQL: a query through the driver, whose libpq can TLS; without one, a psql to type in.

The wheel of the embedded server has a psql, but one without TLS: for a warehouse that demands it, psql must be the
machine's own.
"""

import os
import shutil
import sys
from collections.abc import Mapping
from typing import NoReturn

import psycopg
from psycopg.conninfo import conninfo_to_dict

from provider import postgres
from provider.warehouse import connect
from tools.stack import StackError

WITH_TLS = ("require", "verify-ca", "verify-full")
"""What `sslmode` says where a server is to be reached by TLS alone (PostgreSQL, libpq, "SSL Support")."""


def query(dsn: str, statements: str) -> int:
    """Runs `statements`, and prints rows alone: a line each, columns with | between them, NULL as nothing.

    Returns the exit code: 1 after an error, whose text is on stderr. All of it is one transaction. Raises ResourceError
    where the warehouse can't be reached.
    """
    with connect(dsn, autocommit=True) as connection:
        try:
            cursor = connection.execute(statements.encode())
            while True:
                result = cursor.pgresult
                for row in range(result.ntuples if result else 0):
                    values = (result.get_value(row, column) for column in range(result.nfields)) if result else ()
                    print("|".join((value or b"").decode() for value in values))
                if not cursor.nextset():
                    return 0
        except psycopg.Error as error:
            print(f"ERROR: {str(error).strip()}", file=sys.stderr)
            return 1


def prompt(dsn: str, environment: Mapping[str, str]) -> NoReturn:
    """Becomes a psql that is connected. Raises StackError where there is none that can."""
    program = str(postgres.psql())
    if conninfo_to_dict(dsn).get("sslmode") in WITH_TLS:
        program = shutil.which("psql", path=environment.get("PATH")) or ""
        if not program:
            raise StackError(
                "this warehouse is reached by TLS, which takes a psql of this machine's own: install PostgreSQL's"
                " client (apt install postgresql-client, brew install libpq), or give the query:"
                ' make sql SQL="select …"'
            )
    os.execve(program, [program], {**environment, **libpq(dsn)})  # noqa: S606


def libpq(dsn: str) -> dict[str, str]:
    """A DSN as libpq's environment variables: it must not stand on a command line, where everybody can read it."""
    by_keyword = {
        option.keyword.decode(): option.envvar.decode()
        for option in psycopg.pq.Conninfo.get_defaults()
        if option.envvar
    }
    return {
        by_keyword[key]: str(value)
        for key, value in conninfo_to_dict(dsn).items()
        if value is not None and key in by_keyword
    }
