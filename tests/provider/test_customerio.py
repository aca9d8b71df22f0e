"""The client of Customer.io's App API against the simulated one: what it asks, what it repeats, what it says.

Proof limit: the simulation is written from Customer.io's documents; the real API was not asked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest

from provider import customerio
from provider.customerio import CustomerIO, Webhook
from provider.resource import ResourceError
from tests.customerio import CustomerIO as Simulated

T = TypeVar("T")
TOKEN = "slc_" + "x" * 49
ENDPOINT = f"https://hooks.example.com/v1/stitch_customerio/{TOKEN}"
WANTED = Webhook(
    name="Stitch Customer.io",
    endpoint=ENDPOINT,
    events=("email_sent", "sms_sent"),
    disabled=False,
    full_resolution=True,
    with_content=False,
)


@pytest.fixture
def there() -> Iterator[Simulated]:
    with Simulated() as simulated:
        yield simulated


class Client:
    """Asks the simulation; notes how long it would have waited instead of waiting."""

    def __init__(self, there: Simulated) -> None:
        self.key = there.key()
        self.url = there.api_url
        self.region = "us"
        self.waits: list[float] = []

    def __call__(self, ask: Callable[[CustomerIO], Awaitable[T]]) -> T:
        async def pause(seconds: float) -> None:
            self.waits.append(seconds)

        async def asked() -> T:
            api = CustomerIO(
                self.key,
                region=self.region,
                credential="sluice:c.s.app_api_key",
                stack="dev",
                base_url=self.url,
                pause=pause,
            )
            async with api:
                return await ask(api)

        return asyncio.run(asked())

    def refused(self, ask: Callable[[CustomerIO], Awaitable[Any]]) -> str:
        with pytest.raises(ResourceError) as caught:
            self(ask)
        assert self.key not in str(caught.value)
        assert TOKEN not in str(caught.value)
        assert caught.value.__cause__ is None
        return str(caught.value)


@pytest.fixture
def ask(there: Simulated) -> Client:
    return Client(there)


def test_a_webhook_is_made_read_changed_and_deleted(there: Simulated, ask: Client) -> None:
    made, taken_over = ask(lambda api: api.create(WANTED))
    assert not taken_over
    found = ask(lambda api: api.get(made.id))
    assert found is not None
    assert (found.name, found.endpoint, sorted(found.events)) == (WANTED.name, ENDPOINT, ["email_sent", "sms_sent"])
    assert (found.disabled, found.full_resolution, found.with_content) == (False, True, False)
    assert [webhook.id for webhook in ask(lambda api: api.webhooks())] == [made.id]
    ask(lambda api: api.update(made.id, replace(WANTED, disabled=True, full_resolution=False, with_content=True)))
    changed = there.webhook
    assert (changed.disabled, changed.full_resolution, changed.with_content) == (True, False, True)
    assert ask(lambda api: api.delete(made.id)) is True
    assert there.webhooks == {}


def test_what_is_not_there_is_none_and_deleting_it_is_fine(there: Simulated, ask: Client) -> None:
    assert ask(lambda api: api.webhooks()) == []
    assert ask(lambda api: api.get(1)) is None
    assert ask(lambda api: api.update(1, WANTED)) is None
    assert ask(lambda api: api.delete(1)) is False
    there.api.empty_list_is_null = False
    assert ask(lambda api: api.webhooks()) == []


def test_the_webhook_with_exactly_this_endpoint_is_taken_over(there: Simulated, ask: Client) -> None:
    there.ui.create_js("js", ENDPOINT)
    ours = there.ui.create("made by hand", ENDPOINT, ["push_sent"])
    there.ui.create(WANTED.name, ENDPOINT + "x", ["email_sent"])
    made, taken_over = ask(lambda api: api.create(WANTED))
    assert (made.id, taken_over) == (ours, True)
    assert len(there.webhooks) == 3
    assert there.webhooks[ours].name == WANTED.name
    assert set(there.webhooks[ours].events) == set(WANTED.events)


def test_a_webhook_of_the_same_name_is_left_alone(there: Simulated, ask: Client) -> None:
    other = there.ui.create(WANTED.name, "https://stitch.example.com/x", ["email_sent"])
    before = there.webhooks[other]
    made, _ = ask(lambda api: api.create(WANTED))
    assert made.id != other
    assert there.webhooks[other] == before


def test_two_with_this_endpoint_are_an_error_that_names_them(there: Simulated, ask: Client) -> None:
    ids = [there.ui.create("one", ENDPOINT, ["email_sent"]), there.ui.create("two", ENDPOINT, ["email_sent"])]
    said = ask.refused(lambda api: api.create(WANTED))
    assert all(str(webhook_id) in said for webhook_id in ids)
    assert len(there.webhooks) == 2


def test_a_javascript_webhook_is_none_of_ours(there: Simulated, ask: Client) -> None:
    js = there.ui.create_js("js")
    assert "JavaScript webhook" in ask.refused(lambda api: api.get(js))


def test_a_create_whose_answer_was_lost_is_not_made_twice(there: Simulated, ask: Client) -> None:
    there.api.drop(1, method="POST", after=True)
    ask(lambda api: api.create(WANTED))
    assert there.webhook.endpoint == ENDPOINT
    assert [call.method for call in there.api.calls] == ["GET", "POST", "GET", "PUT"]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_fault_that_passes_is_waited_for_longer_each_time(there: Simulated, ask: Client, status: int) -> None:
    there.api.fail(3, status)
    ask(lambda api: api.create(WANTED))
    assert ask.waits == [0.5, 1.0, 2.0]


def test_a_broken_connection_is_tried_again(there: Simulated, ask: Client) -> None:
    there.api.drop(3)  # aiohttp itself tries an idempotent request a second time
    assert ask(lambda api: api.webhooks()) == []
    assert ask.waits


def test_a_fault_that_stays_ends_after_five_attempts(there: Simulated, ask: Client) -> None:
    there.api.fail(status=503)
    said = ask.refused(lambda api: api.update(1, WANTED))
    assert "it answered 503 (5 attempts)" in said
    assert len(there.api.calls) == 5


def test_nobody_there_is_said_with_the_host(there: Simulated, ask: Client) -> None:
    ask.url = "http://127.0.0.1:1"
    assert "at 127.0.0.1:1 fails: no connection" in ask.refused(lambda api: api.create(WANTED))


def test_a_name_that_is_none_is_said_to_be(there: Simulated, ask: Client) -> None:
    ask.url = "http://customerio.invalid"
    assert "can't be resolved" in ask.refused(lambda api: api.create(WANTED))


def test_each_call_has_a_timeout(there: Simulated, ask: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(customerio, "CALL_TIMEOUT_S", 0.05)
    there.api.delay_s = 0.5
    assert "no answer within" in ask.refused(lambda api: api.webhooks())


def test_the_rate_limit_is_waited_for_as_it_says(there: Simulated, ask: Client) -> None:
    there.api.fail(2, 429, retry_after=3)
    ask(lambda api: api.create(WANTED))
    assert len(ask.waits) == 2
    assert all(3 <= wait <= 3.5 for wait in ask.waits)


def test_a_rate_limit_that_never_ends_is_an_error(there: Simulated, ask: Client) -> None:
    there.api.fail(status=429, retry_after=30)
    assert "rate limit" in ask.refused(lambda api: api.create(WANTED))
    assert sum(ask.waits) <= customerio.LIMITED_PATIENCE_S


def test_many_at_once_stay_within_the_real_rate_limit(there: Simulated) -> None:
    """Sixteen webhooks are thirty-two requests, at ten a second; nothing is faked here."""

    async def all_at_once() -> None:
        async with CustomerIO(there.key(), region="us", credential="c", stack="dev", base_url=there.api_url) as api:
            await asyncio.gather(*(api.create(replace(WANTED, endpoint=f"{ENDPOINT}{number}")) for number in range(16)))

    asyncio.run(all_at_once())
    assert len(there.webhooks) == 16
    assert 429 in {call.status for call in there.api.calls}, "control: the limit was reached"


def test_a_daily_quota_is_named_and_not_waited_for(there: Simulated, ask: Client) -> None:
    there.api.daily_quota = True
    assert "daily quota" in ask.refused(lambda api: api.create(WANTED))
    assert ask.waits == []


@pytest.mark.parametrize("kind", ["track", "service account", "revoked", "other region"])
def test_a_key_that_is_none_is_told_from_what_is_right(there: Simulated, ask: Client, kind: str) -> None:
    if kind == "revoked":
        there.revoke(ask.key)
    else:
        keys = {"track": there.track_key, "service account": there.service_account_token}
        ask.key = keys.get(kind, lambda: there.key(region="eu"))()
    said = ask.refused(lambda api: api.create(WANTED))
    for word in (
        "(401)",
        "App API key",
        "not a Track API key",
        "`region: eu`",
        "pulumi config set --stack dev --secret --path",
    ):
        assert word in said
    assert ask.waits == []


def test_a_key_without_the_scope_is_told_so(there: Simulated, ask: Client) -> None:
    ask.key = there.key(scope="transactional")
    said = ask.refused(lambda api: api.create(WANTED))
    assert "(403)" in said
    assert "scope" in said


def test_a_refused_webhook_is_told_with_the_apis_reason(there: Simulated, ask: Client) -> None:
    said = ask.refused(lambda api: api.create(replace(WANTED, events=("email_sent", "email_sendt"))))
    assert "(400)" in said
    assert "/events/1 (email_sendt): is not an event" in said


def test_a_reason_that_quotes_the_endpoint_or_the_key_is_shown_without_them(ask: Client) -> None:
    body = f'{{"errors": [{{"detail": "no {ENDPOINT} with {ask.key} or {TOKEN}", "status": "400"}}]}}'
    assert customerio._details(body.encode(), None, [ENDPOINT, ask.key]) == "no [secret] with [secret] or [secret]"


@pytest.mark.parametrize("body", ["<html>a proxy's page</html>", "[]", '{"other": 1}'])
def test_an_answer_that_is_none_of_the_apis_is_told_so(there: Simulated, ask: Client, body: str) -> None:
    there.api.fail(1, 200, body=body)
    assert "isn't Customer.io's App API" in ask.refused(lambda api: api.webhooks())


def test_the_key_never_follows_a_redirect(there: Simulated, ask: Client) -> None:
    there.api.fail(1, 302)
    assert "answered 302" in ask.refused(lambda api: api.webhooks())


def test_no_text_of_a_webhook_shows_its_endpoint(there: Simulated, ask: Client) -> None:
    made, _ = ask(lambda api: api.create(WANTED))
    assert TOKEN not in f"{WANTED} {made} {made!r}"


@pytest.mark.parametrize(("region", "host"), [("us", "https://api.customer.io"), ("eu", "https://api-eu.customer.io")])
def test_each_region_has_its_host(region: str, host: str) -> None:
    assert CustomerIO("k", region=region, credential="c", stack="dev")._base == host


def test_a_proxy_of_the_environment_is_used_except_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert customerio._proxy("https://api.customer.io") == "http://proxy.example:3128"
    assert customerio._proxy("http://127.0.0.1:80") is None
