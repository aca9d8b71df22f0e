"""What `make status` calls a problem: each thing that is down, or that keeps events waiting, in its own sentence."""

import logging
import re
from dataclasses import replace
from typing import Any

import pytest

from receiver.logs import Formatter, facts
from tools import local
from tools.endpoints import Endpoint
from tools.place import Counts

UP = {"postgres": "running", "receiver": "running"}
WELL: dict[str, Any] = {
    "warehouse": {"state": "up", "error": None, "at": 1.0},
    "spool": {"trouble": None},
    "schemas": {"s": {"hold": None}},
}


def problems(running: dict[str, str] = UP, **answer: Any) -> list[str]:
    return local.problems(running, {**WELL, **answer}, "run make up")


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
        (
            UP,
            {"spool": {"set_aside": [{"file": "spool.broken-x.db", "rescued": 7, "waiting": 9}]}},
            "kept as spool.broken-x.db: 7 of 9 rows were moved",
        ),
        (UP, {"schemas": {"s": {"hold": "42P01: no table"}}}, "events of s wait.*no table"),
    ],
)
def test_each_trouble_is_named(running: dict[str, str], answer: dict[str, Any], said: str) -> None:
    (found,) = problems(running, **answer)
    assert re.search(said, found), found


def test_a_loader_that_has_not_looked_yet_is_no_trouble() -> None:
    assert problems(warehouse={"state": "unset", "error": None, "at": None}) == []


def test_silence_is_a_problem_once_it_lasts_longer_than_its_owner_allows() -> None:
    endpoint = Endpoint("S", "customerio", "s", "primary", True, 1, "by hand", "http://h/v1/s/t", max_silence_hours=3)
    second = replace(endpoint, slot="secondary")

    def said(hours: float | None, allowed: int | None = 3) -> list[str]:
        counts = {"s": Counts(0, 0, 0, 0, None if hours is None else 1_000_000 - hours * 3600)}
        asked = [replace(each, max_silence_hours=allowed) for each in (endpoint, second)]
        return local.silent(asked, counts, now=1_000_000)

    assert said(4) == ["no event of S for 4 hours, and its maxSilenceHours is 3"]
    assert said(2) == said(4, allowed=None) == said(None) == local.silent([endpoint], {}, now=1.0) == []


def test_the_status_page_s_place_is_a_note_and_a_port_that_is_taken_no_problem() -> None:
    page = {"port": 8788, "url": "http://127.0.0.1:8788/", "open": False, "trouble": None}
    assert local.notes({"admin": page}) == ["status page: http://127.0.0.1:8788/"]
    told = "status page: http://10.1.2.3:8788/, without a password, and others than this machine may reach it"
    assert local.notes({"admin": {**page, "url": "http://10.1.2.3:8788/", "open": True}}) == [told]
    taken: dict[str, Any] = {"admin": {"port": 8788, "trouble": "port 8788 is taken by another process (x)"}}
    assert local.notes(taken) == ["there is no status page: port 8788 is taken by another process (x)"]
    assert problems(**taken) == []
    assert local.notes({"admin": {"port": 0, "trouble": None}}) == local.notes({}) == []


def test_logs_are_shown_to_a_person_as_plain_lines() -> None:
    record = logging.LogRecord("receiver.app", logging.WARNING, "", 0, "refused a delivery", (), None)
    record.__dict__.update(facts(token="222e5a24029f"))
    shown = local._readable(f"    {Formatter().format(record)}\n    another's line")
    first, second = shown.splitlines()
    assert re.fullmatch(
        r"    \d{4}-\d\d-\d\d \d\d:\d\d:\d\d WARNING receiver.app: refused a delivery \(token 222e5a24029f\)", first
    )
    assert second == "    another's line"
