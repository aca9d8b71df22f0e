"""The resource `ReportingWebhook` through the plugin, as the engine calls it, on the simulated Customer.io."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pulumi.provider.experimental.property_value import PropertyValue
from pulumi.provider.experimental.provider import (
    ConfigureRequest,
    CreateRequest,
    DeleteRequest,
    DiffRequest,
    PropertyDiffKind,
    ReadRequest,
    UpdateRequest,
)
from pulumi.runtime.rpc import UNKNOWN

from provider import customerio, plugin
from provider.reporting_webhook import ReportingWebhook
from provider.resource import ResourceError
from tests.customerio import CustomerIO

URN = "urn:pulumi:dev::sluice::sluice:index:Integration$sluice:index:ReportingWebhook::stitch_customerio-webhook"
ENDPOINT = "https://hooks.example.com/v1/stitch_customerio/slc_" + "x" * 49
EVENTS = ["email_sent", "email_opened", "sms_sent", "push_sent"]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[CustomerIO]:
    monkeypatch.setattr(customerio, "BACKOFF_S", 0.001)
    with CustomerIO() as simulated:
        yield simulated


class Engine:
    """Calls the plugin as the engine does. `said`: the messages, warnings with an exclamation mark before."""

    def __init__(self, there: CustomerIO) -> None:
        self.said: list[str] = []
        self.provider = plugin.SluiceProvider(Path("/nowhere"), self._say)
        self.inputs: dict[str, Any] = {
            "schema": "stitch_customerio",
            "name": "Stitch Customer.io",
            "endpoint": ENDPOINT,
            "events": EVENTS,
            "disabled": False,
            "fullResolution": False,
            "withContent": False,
            "region": "us",
            "apiUrl": there.api_url,
            "appApiKey": there.key(),
        }

    async def _say(self, urn: str, message: str, warning: bool) -> None:
        self.said.append("! " * warning + message)

    def configure(self, **config: str) -> None:
        variables = {f"sluice:config:{name}": value for name, value in config.items()}
        asyncio.run(self.provider.configure(ConfigureRequest(variables, {}, True, True)))

    def create(self) -> tuple[str, dict[str, PropertyValue]]:
        made = asyncio.run(self.provider.create(CreateRequest(URN, wire(self.inputs), 0, False)))
        return str(made.resource_id), made.properties

    def diff(self, state: dict[str, PropertyValue], **changes: Any) -> Any:
        return asyncio.run(self.provider.diff(DiffRequest(URN, "id", state, wire({**self.inputs, **changes}), [])))

    def update(self, state: dict[str, PropertyValue], **changes: Any) -> dict[str, PropertyValue]:
        news = wire({**self.inputs, **changes})
        return asyncio.run(self.provider.update(UpdateRequest(URN, "id", state, news, 0, [], False))).properties

    def read(self, resource_id: str, state: dict[str, PropertyValue] | None = None) -> Any:
        inputs = wire(self.inputs) if state else {}
        return asyncio.run(self.provider.read(ReadRequest(URN, resource_id, state or {}, inputs)))

    def delete(self, state: dict[str, PropertyValue]) -> None:
        asyncio.run(self.provider.delete(DeleteRequest(URN, "id", state, 0)))


def wire(properties: dict[str, Any]) -> dict[str, PropertyValue]:
    return plugin._wire_map(properties, ReportingWebhook.secrets)


def plain(properties: dict[str, PropertyValue]) -> dict[str, Any]:
    return plugin._plain_map(properties)


@pytest.fixture
def engine(there: CustomerIO) -> Engine:
    return Engine(there)


def test_its_id_holds_what_an_import_needs(there: CustomerIO, engine: Engine) -> None:
    resource_id, state = engine.create()
    assert resource_id == f"stitch_customerio/{there.webhook.id}"
    assert plain(state) == {**engine.inputs, "webhookId": there.webhook.id}
    assert {name for name, value in state.items() if value.is_secret} == {"endpoint", "appApiKey"}
    assert engine.said == []


def test_nothing_changed_is_no_difference_in_whatever_order_the_events_come(there: CustomerIO, engine: Engine) -> None:
    resource_id, state = engine.create()
    for _ in range(5):  # the API has no order
        read = engine.read(resource_id, state)
        assert plain(read.properties) == plain(state)
    assert not engine.diff(state, events=EVENTS[::-1]).changes


@pytest.mark.parametrize(
    ("field", "changed", "path"),
    [
        ({"name": "renamed"}, "renamed", "name"),
        ({"endpoint": "https://elsewhere.example/x"}, "https://elsewhere.example/x", "endpoint"),
        ({"disabled": True}, True, "disabled"),
        ({"full_resolution": True}, True, "fullResolution"),
        ({"with_content": True}, True, "withContent"),
        ({"events": ["email_sent", "email_opened", "sms_sent", "slack_sent"]}, None, "events[3]"),
    ],
)
def test_a_change_made_in_the_ui_shows_and_is_put_right(
    there: CustomerIO, engine: Engine, field: dict[str, Any], changed: Any, path: str
) -> None:
    resource_id, state = engine.create()
    before = there.webhook
    there.ui.change(before.id, **field)
    read = engine.read(resource_id, state)
    if changed is not None:
        assert plain(read.properties)[path] == changed
        assert plain(read.inputs)[path] == changed
    assert read.properties["endpoint"].is_secret
    assert read.inputs["endpoint"].is_secret
    found = engine.diff(read.properties)
    assert list(found.detailed_diff) == [path]
    assert found.replaces == []
    engine.update(read.properties)
    assert there.webhook == before


def test_events_are_named_one_by_one(there: CustomerIO, engine: Engine) -> None:
    _, state = engine.create()
    found = engine.diff(state, events=["email_opened", "sms_sent", "push_sent", "slack_sent", "in_app_sent"])
    assert {path: change.kind for path, change in found.detailed_diff.items()} == {
        "events[0]": PropertyDiffKind.DELETE,
        "events[3]": PropertyDiffKind.ADD,
        "events[4]": PropertyDiffKind.ADD,
    }
    assert engine.said == ["events to add: slack_sent, in_app_sent; to remove: email_sent"]


def test_a_new_endpoint_is_an_update_in_place_known_or_not(there: CustomerIO, engine: Engine) -> None:
    _, state = engine.create()
    found = engine.diff(state, endpoint=UNKNOWN)
    assert (list(found.detailed_diff), found.replaces) == (["endpoint"], [])
    webhook_id = there.webhook.id
    state = engine.update(state, endpoint=ENDPOINT + "2")
    assert (there.webhook.id, there.webhook.endpoint) == (webhook_id, ENDPOINT + "2")
    assert state["endpoint"].is_secret


def test_another_region_behind_the_same_address_keeps_the_same_webhook(there: CustomerIO, engine: Engine) -> None:
    _, state = engine.create()
    before = there.webhook
    assert engine.diff(state, region="eu").replaces == []
    assert plain(engine.update(state, region="eu"))["webhookId"] == before.id
    assert there.webhook == before


def test_another_account_gets_a_webhook_and_the_old_ones_is_deleted(there: CustomerIO, engine: Engine) -> None:
    _, state = engine.create()
    old = there.webhook.id
    with CustomerIO(region="eu") as other:
        state = engine.update(state, region="eu", apiUrl=other.api_url, appApiKey=other.key())
        assert plain(state)["webhookId"] == other.webhook.id
        assert other.webhook.endpoint == ENDPOINT
    assert there.webhooks == {}
    assert f"{old} in that of the old one is deleted" in engine.said[-1]


def test_a_move_that_was_killed_is_finished_by_another_key_too(there: CustomerIO, engine: Engine) -> None:
    """Its update came through, and the state doesn't know."""
    _, state = engine.create()
    there.ui.change(there.webhook.id, endpoint=ENDPOINT + "2")
    engine.update(state, appApiKey=there.key(), endpoint=ENDPOINT + "2")
    assert there.webhook.endpoint == ENDPOINT + "2"


def test_a_new_webhook_whose_key_is_stored_already_is_warned_of(there: CustomerIO, engine: Engine) -> None:
    engine.inputs["signed"] = True
    _, state = engine.create()
    assert "may be another than the one that is stored" in engine.said.pop()
    there.ui.delete(there.webhook.id)
    engine.update(state, name="renamed")
    assert "may be another than the one that is stored" in engine.said.pop()
    engine.said.clear()
    there.ui.delete(there.webhook.id)
    engine.inputs["disabled"] = True
    engine.create()
    assert engine.said == [], "it waits for its key, and that is said elsewhere"


def test_one_that_was_deleted_is_read_as_gone_and_made_again_by_an_update(there: CustomerIO, engine: Engine) -> None:
    resource_id, state = engine.create()
    old = there.webhook.id
    there.ui.delete(old)
    assert engine.read(resource_id, state).resource_id == ""
    state = engine.update(state, name="renamed")
    assert there.webhook.name == "renamed"
    assert plain(state)["webhookId"] == there.webhook.id != old
    assert engine.said == [
        f"! webhook {old} was not there any more at Customer.io: it was made again, as {there.webhook.id}"
    ]
    engine.inputs["name"] = "renamed"
    assert engine.read(resource_id, state).resource_id == f"stitch_customerio/{there.webhook.id}"


def test_a_move_that_its_key_no_longer_allows_is_finished_with_another(there: CustomerIO, engine: Engine) -> None:
    _, state = engine.create()
    webhook_id = there.webhook.id
    there.revoke(engine.inputs["appApiKey"])
    said = failure(lambda: engine.update(state, endpoint=ENDPOINT + "2"))
    assert "(401)" in said
    assert "old URL" in said
    assert there.webhook.endpoint == ENDPOINT
    engine.update(state, appApiKey=there.key(), endpoint=ENDPOINT + "2")
    assert (there.webhook.id, there.webhook.endpoint) == (webhook_id, ENDPOINT + "2")


def test_behind_a_new_key_a_webhook_of_somebody_elses_is_left_alone(there: CustomerIO, engine: Engine) -> None:
    """Another workspace may have a webhook of the same id."""
    _, state = engine.create()
    with CustomerIO() as other:
        theirs = other.ui.create("theirs", "https://elsewhere.example/x", ["email_sent"])
        state["webhookId"] = PropertyValue(float(theirs))
        before = other.webhook
        state = engine.update(state, appApiKey=other.key(), apiUrl=other.api_url)
        assert other.webhooks.pop(theirs) == before
        assert plain(state)["webhookId"] != theirs
        assert len(other.webhooks) == 2
    assert f"has the webhook {int(plain(state)['webhookId'])} now" in engine.said[-1]


def test_taking_over_is_said(there: CustomerIO, engine: Engine) -> None:
    webhook_id = there.ui.create("by hand", ENDPOINT, ["email_sent"])
    engine.create()
    assert engine.said == [f"took over webhook {webhook_id} at Customer.io, which has this very URL"]


def test_deleting_is_done_when_it_is_gone_already(there: CustomerIO, engine: Engine) -> None:
    _, state = engine.create()
    engine.delete(state)
    assert there.webhooks == {}
    engine.delete(state)


def failure(call: Callable[[], object]) -> str:
    with pytest.raises(ResourceError) as caught:
        call()
    assert "slc_" not in str(caught.value)
    return str(caught.value)


def test_a_failed_move_says_that_the_old_url_goes_on_working(there: CustomerIO, engine: Engine) -> None:
    _, state = engine.create()
    there.api.fail(status=503)
    assert "old URL" in failure(lambda: engine.update(state, endpoint=ENDPOINT + "2"))
    assert "old URL" not in failure(lambda: engine.update(state, name="renamed"))


class TestImport:
    @pytest.fixture
    def configured(self, there: CustomerIO, engine: Engine) -> Engine:
        engine.configure(
            credentials=json.dumps({"stitch_customerio": {"app_api_key": engine.inputs["appApiKey"]}}),
            integrations=json.dumps([{"name": "Other"}, {"name": "Stitch Customer.io", "region": "us"}]),
            customerioApi=there.api_url + "/",
        )
        return engine

    def test_it_needs_the_id_alone(self, there: CustomerIO, configured: Engine) -> None:
        webhook_id = there.ui.create("Stitch", "https://stitch.example/x", ["email_sent"], with_content=True)
        found = configured.read(f"stitch_customerio/{webhook_id}")
        expected = {
            **configured.inputs,
            "name": "Stitch",
            "endpoint": "https://stitch.example/x",
            "events": ["email_sent"],
            "withContent": True,
        }
        assert plain(found.inputs) == expected
        assert plain(found.properties) == {**expected, "webhookId": webhook_id}
        assert {name for name, value in found.inputs.items() if value.is_secret} == {"endpoint", "appApiKey"}
        assert "endpoint" in configured.diff(found.properties).detailed_diff

    def test_the_region_is_that_of_the_integration(self, there: CustomerIO, engine: Engine) -> None:
        engine.configure(
            credentials='{"mine": {"app_api_key": "k"}}',
            integrations='[{"name": "Stitch Customer.io", "schema": "mine", "region": "eu"}]',
            customerioApi=there.api_url,
        )
        assert "region `eu`" in failure(lambda: engine.read("mine/1"))

    @pytest.mark.parametrize("resource_id", ["7", "stitch_customerio", "stitch_customerio/x", "/7"])
    def test_another_shape_of_id_is_refused_with_the_right_one(self, configured: Engine, resource_id: str) -> None:
        assert "<schema>/<webhook id>" in failure(lambda: configured.read(resource_id))

    def test_one_that_isnt_there_is_refused(self, configured: Engine) -> None:
        assert "no webhook 7" in failure(lambda: configured.read("stitch_customerio/7"))

    def test_without_a_key_it_says_how_to_store_one(self, engine: Engine) -> None:
        engine.configure()
        assert "sluice:credentials.stitch_customerio.app_api_key" in failure(lambda: engine.read("stitch_customerio/7"))
