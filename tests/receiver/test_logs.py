"""The logs: a line of JSON each, readable at a terminal, bounded, and without what an exception says."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from receiver.control import ask_sync
from receiver.logs import Formatter, Sparingly, facts, readable
from receiver.rejects import kind
from tests.receiver.running import ROOT, Running, event, register
from tests.support.waiting import until


def line(message: str, exc_info: object = None, **told: object) -> str:
    record = logging.LogRecord("receiver.app", logging.WARNING, "", 0, message, (), exc_info)  # type: ignore[arg-type]
    record.__dict__.update(facts(**told))
    return Formatter().format(record)


def test_a_line_is_one_json_object_with_its_facts() -> None:
    told = json.loads(line("refused a delivery", token="222e5a24029f", reason="a\nb"))
    assert told.pop("ts").endswith("Z")
    assert told.pop("pid") > 0
    assert told == {
        "level": "warning",
        "logger": "receiver.app",
        "event": "refused a delivery",
        "token": "222e5a24029f",
        "reason": "a\nb",
    }
    assert "\n" not in line("x", reason="a\nb")


def test_of_an_exception_its_kind_and_place_are_told_and_not_its_words() -> None:
    try:
        raise ValueError("a secret")
    except ValueError:
        told = line("failed", exc_info=sys.exc_info())
    assert json.loads(told)["error"] == "ValueError"
    assert json.loads(told)["at"].startswith("test_of_an_exception")
    assert "a secret" not in told


def test_a_person_reads_one_plain_line() -> None:
    shown = readable(line("refused a delivery", token="222e5a24029f", reason="why"))
    assert shown.endswith("WARNING receiver.app: refused a delivery (token 222e5a24029f, reason why)")


def test_at_a_terminal_a_process_logs_plain_lines_and_else_json() -> None:
    program = "import logging; from receiver.logs import log_to; log_to(logging.StreamHandler()); logging.warning('hi')"
    ours, theirs = os.openpty()
    try:
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=theirs, check=True)
        assert os.read(ours, 1000).decode().endswith("WARNING root: hi\r\n")
    finally:
        os.close(ours)
        os.close(theirs)
    piped = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, check=True).stderr
    assert json.loads(piped)["event"] == "hi"


@pytest.mark.parametrize("text", ["no JSON", "[1]", '{"event": "another\'s"}', "3", ""])
def test_a_line_that_is_not_ours_stays_as_it_is(text: str) -> None:
    assert readable(text) == text


def test_nothing_in_a_log_moves_a_terminal_s_cursor() -> None:
    assert "\x1b" not in readable(line("x", reason="\x1b[2Jgone"))
    assert readable("\x1b[2Jgone") == "\\x1b[2Jgone"


def test_only_so_many_lines_a_minute_and_then_how_many_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 600.0
    monkeypatch.setattr("receiver.logs.time.monotonic", lambda: now)
    sparingly = Sparingly(lines=2)
    assert [sparingly.may_say("a") for _ in range(5)] == [{}, {}, None, None, None]
    assert sparingly.may_say("b") == {}
    now += 60
    assert sparingly.may_say("a") == {"left_out_before": 3}
    assert sparingly.may_say("a") == {}


def test_reasons_are_few_whatever_is_sent() -> None:
    assert (
        kind("not valid JSON: unexpected character: line 1 column 7 (char 6)") == "not valid JSON: unexpected character"
    )
    told = "Content-Encoding isn't known (gzip, deflate, identity are)"
    assert kind("Content-Encoding '<b>\\'x' isn't known (gzip, deflate, identity are)") == told
    assert kind("not a JSON object") == "not a JSON object"
    assert kind("23514: CheckViolation (row (1,\n2) of it)") == "23514: CheckViolation"
    assert kind('22003: value "1e9\n9" is out of range') == "22003: value …"


def test_each_rejected_delivery_is_a_line_up_to_a_bound(home: Path, receiver: Running) -> None:
    path = register(home)
    until(lambda: receiver.post(path, event("good")).status == 200)
    for number in range(30):
        assert receiver.post(path, b"[%d]" % number).status == 200
    said = [json.loads(each) for each in receiver.log().splitlines()]
    rejected = [each for each in said if each["event"] == "rejected a delivery"]
    assert len(rejected) in (20, 21)  # a minute may have ended meanwhile
    assert {(each["schema"], each["reason"], each["bytes"]) for each in rejected} <= {
        ("stitch_customerio", "not a JSON object", size) for size in (3, 4)
    }
    fingerprints = {each["token"] for each in rejected}
    assert len(fingerprints) == 1
    assert next(iter(ask_sync(home, "status")["endpoints"])).startswith(fingerprints.pop())
