"""`sluice:warehouseDsn` is read as libpq reads it, before anything is made, and no part of a password is ever shown."""

from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.unit.test_settings import mistakes, read

PASSWORD = "hunter2pass"


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:{}@h/d",
        "postgres://u:{}@h:5433/d?sslmode=require&application_name=x",
        "postgresql://u:{}@h1:1,h2:2/d?target_session_attrs=read-write",
        "postgresql://u:{}@[::1]:5432/d",
        "postgresql://u:{}@/d?host=/var/run/postgresql",
        "postgresql://u:{}@h/d?options=-c%20search_path%3Dx",
        "postgresql://h",
    ],
)
def test_what_libpq_takes_is_taken(dsn: str) -> None:
    read(warehouseDsn=dsn.format(PASSWORD))


@pytest.mark.parametrize("character", "/@%?#&:;,[]+ü\\'\"")
def test_any_password_can_be_written(character: str) -> None:
    password = f"hunter{character}2"
    dsn = f"postgresql://u:{quote(password, safe='')}@h/d"
    read(warehouseDsn=dsn)
    assert conninfo_to_dict(dsn)["password"] == password


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://u:x/{}@h:5432/d", "/ is written %2F"),
        ("postgresql://u:5432/{}@h/d", "/ is written %2F"),
        ("postgresql://u:{}@x@h/d", "@ is written %40"),
        ("postgresql://u:{}%zz@h/d", "% is written %25"),
        ("postgresql://u:{}@h/d?pgbouncer=true", "`pgbouncer`: take it out (Sluice works through a pooler without it)"),
        ("postgresql://u:{}@h/d?schema=public", "`schema`: take it out (each integration has a schema of its own"),
        ("postgresql://u:{}@h/d?connection_limit=1", "`connection_limit`: take it out"),
        ("postgresql://u:x/x?{}=x@h/d", "/ is written %2F"),
        ("postgresql://u:{}@h/d?sslmode", "must be of the form"),
        ("postgresql://u:{}@h:port/d", "must be of the form"),
        ("postgresql://u:{}@h:0/d", "a port from 1 to 65535"),
        ("postgresql://u:{}@h:65536/d", "a port from 1 to 65535"),
        ("postgresql://u:{}@[h/d", "must be of the form"),
        ("host=h password={}", "must be of the form"),
        ("mysql://u:{}@h/d", "must be of the form"),
    ],
)
def test_what_it_does_not_take_is_refused_with_what_to_write(dsn: str, said: str) -> None:
    (mistake,) = mistakes(warehouseDsn=dsn.format(PASSWORD))
    assert mistake.path == "sluice:warehouseDsn"
    assert said in mistake.problem
    assert PASSWORD not in str(mistake)
