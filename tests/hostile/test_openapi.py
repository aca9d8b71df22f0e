"""The API's description and the API: schemathesis makes requests of the one and holds the answers against it, and what
the description says in numbers is what the code has."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
import yaml
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.openapi.checks import JsonSchemaError, MissingHeaders, UndefinedContentType, UndefinedStatusCode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from receiver import answers, app, body, event, server, token
from receiver.aws import handler
from tests.hostile.stack import Stack, standing
from tests.receiver.running import SCHEMA, new_token, set_setting
from tests.support import sizes
from tests.support.postgres import PostgresServer
from tests.support.waiting import until

FILE = Path(__file__).resolve().parents[2] / "docs/openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(FILE.read_text())
PATH = "/v1/{schema}/{token}"
OPERATION = DOCUMENT["paths"][PATH]["post"]
OF_LAMBDA = {"413", "429", "502"}  # what AWS answers in our place
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = sizes.of(8, 25)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Stack]:
    with standing(tmp_path_factory.mktemp("openapi") / "dev", postgres) as made:
        yield made


def answered(
    stack: Stack,
    session: requests.Session,
    document: dict[str, Any],
    mode: GenerationMode,
    examples: int = EXAMPLES,
    **given_values: Any,
) -> dict[int, int]:
    """How often each status was answered to requests made of `document`, each answer held against it.

    They are the same ones each time, but for `given_values`, which aren't made up. Raises FailureGroup.
    """
    operation = schemathesis.openapi.from_dict(copy.deepcopy(document))[PATH]["POST"]
    statuses: dict[int, int] = {}

    @settings(max_examples=examples, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode, **given_values))
    def ask(case: schemathesis.Case[Any]) -> None:
        response = case.call(base_url=f"http://127.0.0.1:{stack.receiver.port}", session=session)
        statuses[response.status_code] = statuses.get(response.status_code, 0) + 1
        case.validate_response(response, checks=CHECKS)

    ask()
    return statuses


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as made:
        made.trust_env = False  # no proxy of this machine's
        yield made


def live(stack: Stack) -> dict[str, str]:
    return dict(zip(("schema", "token"), stack.path.split("/")[2:], strict=True))


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_is_posted_to_a_live_url_is_answered_as_described(
    stack: Stack, session: requests.Session, mode: GenerationMode
) -> None:
    """Whether it is of the described form or not: all of it is stored."""
    after = stack.sequence()
    statuses = answered(stack, session, DOCUMENT, mode, path_parameters=live(stack))
    assert set(statuses) == {200}
    rows = stack.landed(statuses[200], after)
    if mode is GenerationMode.NEGATIVE:
        assert any(row.event_id is None for row in rows)
    else:
        assert any(row.event_id is not None for row in rows)
    assert stack.is_well()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_is_posted_to_any_url_is_answered_as_described(
    stack: Stack, session: requests.Session, mode: GenerationMode
) -> None:
    after = stack.sequence()
    statuses = answered(stack, session, DOCUMENT, mode)
    assert set(statuses) <= {401, 404}
    assert statuses[401]
    assert stack.sequence() == after
    assert stack.is_well()


def test_a_receiver_that_can_store_nothing_answers_as_described(stack: Stack, session: requests.Session) -> None:
    set_setting(stack.receiver.home, "spool_max_bytes", 1)
    try:
        until(lambda: stack.receiver.post(stack.path, b"{}").status == 503)
        good = {"path_parameters": live(stack)}
        with pytest.raises(FailureGroup) as found:
            answered(stack, session, DOCUMENT, GenerationMode.POSITIVE, 3, **good)
        # A 503 is what schemathesis calls a server's error. Nothing else is wrong with it.
        assert {type(each).__name__ for each in found.value.exceptions} == {"ServerError"}
    finally:
        set_setting(stack.receiver.home, "spool_max_bytes", None)
        until(lambda: stack.receiver.post(stack.path, b"{}").status == 200)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_answered_as_described(stack: Stack, session: requests.Session, method: str) -> None:
    response = session.request(method, f"http://127.0.0.1:{stack.receiver.port}{stack.path}")
    described = DOCUMENT["components"]["responses"]["MethodNotAllowed"]
    assert response.status_code == 405
    assert response.headers["Allow"] == described["headers"]["Allow"]["schema"]["const"]


def changed(change: str) -> dict[str, Any]:
    """The description with a mistake in it."""
    document = copy.deepcopy(DOCUMENT)
    operation = document["paths"][PATH]["post"]
    match change:
        case "no 200":
            del operation["responses"]["200"]
        case "another type":
            response = document["components"]["responses"]["Ok"]
            response["content"] = {"text/plain": response["content"]["application/json"]}
        case "another body":
            schema = document["components"]["responses"]["Ok"]["content"]["application/json"]["schema"]
            schema["properties"]["status"] = {"const": "fine"}
        case "another header":
            document["components"]["responses"]["Ok"]["headers"]["X-Event"] = {"required": True, "schema": {}}
    return document


@pytest.mark.parametrize(
    ("change", "failure"),
    [
        ("no 200", UndefinedStatusCode),
        ("another type", UndefinedContentType),
        ("another body", JsonSchemaError),
        ("another header", MissingHeaders),
    ],
)
def test_control_an_answer_that_is_not_described_is_noticed(
    stack: Stack, session: requests.Session, change: str, failure: type[Exception]
) -> None:
    with pytest.raises(FailureGroup) as found:
        answered(stack, session, changed(change), GenerationMode.POSITIVE, 3, path_parameters=live(stack))
    assert any(isinstance(each, failure) for each in found.value.exceptions)


# The description and the code


def test_each_answer_of_the_code_is_described_and_no_other() -> None:
    fixed = {name: each for name, each in vars(answers).items() if isinstance(each, answers.Answer)}
    assert len(fixed) == 6
    described = {status: _resolved(response) for status, response in OPERATION["responses"].items()}
    assert set(described) == {str(each.status) for each in fixed.values()} | OF_LAMBDA
    for each in fixed.values():
        response = described[str(each.status)]
        content = response["content"][dict(each.headers)["content-type"]]
        status = content["schema"]["properties"]["status"]["const"]
        assert each.body == b'{"status":"%s"}' % status.encode()
        headers = {name.lower(): header for name, header in response["headers"].items() if name != "Connection"}
        assert set(headers) == {name for name, _ in each.headers} - {"content-type"}
        for name, value in each.headers:
            assert name == "content-type" or str(headers[name]["schema"]["const"]) == value


def test_the_limits_are_the_code_s() -> None:
    assert DOCUMENT["x-sluice-limits"] == {
        "body_bytes": event.MAX_BYTES,
        "body_bytes_aws": handler.MAX_BYTES,
        "body_bytes_read": body.READ_BYTES,
        "body_seconds": app.BODY_SECONDS,
        "head_seconds": server.HEAD_SECONDS,
        "event_id_characters": event.MAX_EVENT_ID,
        "gzip_members": event._MAX_GZIP_MEMBERS,
        "json_parts": event.MAX_PARTS,
        "retry_after_seconds": answers.RETRY_AFTER_SECONDS,
    }
    assert DOCUMENT["components"]["schemas"]["EventId"]["maxLength"] == event.MAX_EVENT_ID
    text = FILE.read_text()
    assert f"{event.MAX_BYTES // 2**20} MiB" in OPERATION["requestBody"]["description"]
    assert f"{app.BODY_SECONDS:.0f} s" in DOCUMENT["components"]["responses"]["TooSlow"]["description"]
    assert f"{token.FINGERPRINT_LENGTH} hex digits" in text


def test_the_examples_are_events_and_its_token_is_nobody_s() -> None:
    examples = OPERATION["requestBody"]["content"]["application/json"]["examples"]
    types = {}
    for name, example in examples.items():
        parsed = event.parse(json.dumps(example["value"]).encode(), "")
        assert isinstance(parsed, event.Event)
        types[name] = (parsed.object_type, parsed.metric)
    assert types == {"current": ("email", "sent"), "legacy": ("email", "opened")}
    parameters = {each["name"]: each for each in [*DOCUMENT["paths"][PATH]["parameters"], *OPERATION["parameters"]]}
    pattern = re.compile(parameters["token"]["schema"]["pattern"])
    assert pattern.match(new_token())
    assert pattern.match(parameters["token"]["example"])
    assert parameters["schema"]["example"] == SCHEMA
    printed = re.findall(r"slc_[0-9A-Za-z]{20,}", FILE.read_text())
    assert printed
    assert [each for each in printed if token.is_wellformed(each)] == []


def test_each_encoding_that_is_described_is_read_and_no_other() -> None:
    parameters = {each["name"]: each for each in OPERATION["parameters"]}
    described = parameters["Content-Encoding"]["schema"]["enum"]
    unknown = event.parse(b"", "br")
    assert isinstance(unknown, event.Rejection)
    assert set(re.findall(r"\w+", unknown.reason.partition("known (")[2])) - {"are"} == set(described) - {"x-gzip"}
    for encoding in described:
        parsed = event.parse(b"", encoding)
        assert isinstance(parsed, event.Rejection)
        assert "isn't known" not in parsed.reason


def _resolved(response: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = DOCUMENT["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
    return found
