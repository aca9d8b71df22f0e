"""What `make status` calls a problem: each thing that is down, or that keeps events waiting, in its own sentence."""

import re
from pathlib import Path
from typing import Any

import pytest

from tools import targets
from tools.stack import Stack

UP = {"postgres": "running", "receiver": "running"}
WELL: dict[str, Any] = {
    "warehouse": {"state": "up", "error": None, "at": 1.0},
    "spool": {"trouble": None},
    "schemas": {"s": {"hold": None}},
}


def problems(running: dict[str, str] = UP, **answer: Any) -> list[str]:
    stack = Stack(Path("/nowhere"), "dev", {})
    return targets._problems({**running}, {**WELL, **answer}, stack)


def test_nothing_is_said_where_all_is_well() -> None:
    assert problems() == []


@pytest.mark.parametrize(
    ("running", "answer", "said"),
    [
        ({**UP, "postgres": "stopped"}, {}, "PostgreSQL is down"),
        ({**UP, "receiver": "stopped"}, {}, "the receiver is down"),
        ({**UP, "receiver": "not answering (x)"}, {}, "the receiver is not answering"),
        (UP, {"warehouse": {"state": "down", "error": "no route", "at": 1.0}}, "the warehouse is down.*no route"),
        (UP, {"warehouse": {"state": "unset", "error": None, "at": 1.0}}, "doesn't know the warehouse"),
        (UP, {"spool": {"trouble": "SpoolFull: full"}}, "senders get 503.*full"),
        (UP, {"schemas": {"s": {"hold": "42P01: no table"}}}, "events of s wait.*no table"),
    ],
)
def test_each_trouble_is_named(running: dict[str, str], answer: dict[str, Any], said: str) -> None:
    (found,) = problems(running, **answer)
    assert re.search(said, found), found


def test_a_loader_that_has_not_looked_yet_is_no_trouble() -> None:
    assert problems(warehouse={"state": "unset", "error": None, "at": None}) == []
