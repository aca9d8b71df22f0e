"""How the provider reaches a stack's warehouse, embedded or given."""

from typing import Any

import psycopg

from provider.resource import ResourceError

CONNECT_TIMEOUT_S = 10


def connect(dsn: str, **options: Any) -> psycopg.Connection[Any]:
    """A connection. Raises ResourceError, without the password."""
    try:
        return psycopg.connect(dsn, connect_timeout=CONNECT_TIMEOUT_S, **options)
    except psycopg.OperationalError as error:
        raise ResourceError(
            f"the warehouse can't be reached ({' '.join(str(error).split()).rstrip('?')}): "
            "if it is the embedded one, make up starts it; else see sluice:warehouseDsn"
        ) from None
    except psycopg.ProgrammingError:  # its message may quote the DSN, password and all
        raise ResourceError(
            "sluice:warehouseDsn can't be read: it should look like postgresql://user:password@host:5432/database"
        ) from None
