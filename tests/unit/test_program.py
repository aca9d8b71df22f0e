"""What a declaration becomes: the whole program, from a stack's config to what the engine is told.

Proof limit: no engine and no provider run here. That a replacement is one, that children inherit options, and
that a secret stays one in the state, is shown by the engine tests.
"""

from typing import Any

import pulumi
import pytest

from components.customerio.events import EVENTS
from receiver.token import digest, fingerprint, printed
from tests.unit.recording import (
    DSN,
    IDENTITY,
    RECEIVER_URL,
    UNKNOWN,
    Engine,
    Made,
    Secret,
    run_program,
    without_secrets,
)
from tests.unit.recording import run_here as run

STITCH: dict[str, Any] = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 1}}
BILLING: dict[str, Any] = {"name": "Billing", "source": "customerio", "tokens": {"primary": 1}}
TWO_SLOTS: dict[str, Any] = {**STITCH, "tokens": {"primary": 1, "secondary": 1}}
KEYS = {"stitch_customerio": {"signing_key": "new-key", "previous_signing_key": "old-key"}}


def token(name: str, version: int) -> str:
    """The printed token that the recorder's passwords lead to."""
    return printed(f"{name}{version}".replace("-", "").replace("_", "").ljust(43, "x"))


def by_name(engine: Engine) -> dict[str, Made]:
    return {made.name: made for made in engine.made}


class TestOneIntegration:
    """`Stitch Customer.io` on one machine, with nothing but the defaults."""

    def test_it_becomes_these_resources_and_no_other(self) -> None:
        assert sorted((made.kind, made.name, made.parent) for made in run(STITCH).made) == [
            (
                "random:index/randomPassword:RandomPassword",
                "stitch_customerio-token-primary",
                "stitch_customerio",
            ),
            ("sluice:index:Endpoint", "stitch_customerio-endpoint-primary", "stitch_customerio"),
            ("sluice:index:Integration", "stitch_customerio", "sluice-dev"),
            ("sluice:index:PostgresSchema", "stitch_customerio-schema", "stitch_customerio"),
            ("sluice:index:PostgresServer", "postgres", "sluice-dev"),
            ("sluice:index:Receiver", "receiver", "sluice-dev"),
            ("sluice:index:StackIdentity", "identity", "sluice-dev"),
        ]

    def test_postgres_takes_a_free_port(self) -> None:
        made = run(STITCH).named("postgres")
        assert made.inputs == {"port": 0}
        assert made.secret_outputs == ["dsn"]

    def test_the_receiver_is_told_where_to_listen_and_where_the_warehouse_is(self) -> None:
        made = run(STITCH).named("receiver")
        assert made.inputs == {
            "host": "127.0.0.1",
            "port": 8787,
            "adminHost": "127.0.0.1",
            "adminPort": 8788,
            "warehouseDsn": Secret(DSN),
            "spoolMaxBytes": 5 * 1024**3,
            "keepFreeBytes": 1024**3,
        }
        assert made.depends_on == ["identity", "postgres"]
        assert made.secret_outputs == ["warehouseDsn"]

    def test_the_schema_knows_its_name_its_source_and_its_warehouse(self) -> None:
        made = run(STITCH).named("stitch_customerio-schema")
        assert made.inputs == {
            "name": "stitch_customerio",
            "displayName": "Stitch Customer.io",
            "source": "customerio",
            "loading": "upsert",
            "adopt": False,
            "stackIdentity": IDENTITY,
            "destroyData": False,
            "dsn": Secret(DSN),
        }
        assert made.secret_outputs == ["dsn"]

    def test_a_schema_goes_before_the_receiver_whose_loader_empties_the_spool(self) -> None:
        assert run(STITCH).named("stitch_customerio-schema").depends_on == ["identity", "postgres", "receiver"]

    def test_the_token_is_kept_by_its_version_alone(self) -> None:
        made = run(STITCH).named("stitch_customerio-token-primary")
        assert made.inputs == {"length": 43, "special": False, "keepers": {"version": "1"}}

    def test_the_endpoint_knows_the_tokens_hash_and_never_the_token(self) -> None:
        made = run(STITCH).named("stitch_customerio-endpoint-primary")
        assert made.inputs == {
            "schema": "stitch_customerio",
            "slot": "primary",
            "version": 1,
            "hash": digest(token("stitch_customerio-token-primary", 1)),
            "source": "customerio",
            "active": True,
            "connected": False,
            "signed": False,
            "signingKeys": Secret([]),
        }

    def test_an_endpoint_opens_when_schema_and_receiver_are_there(self) -> None:
        made = run(STITCH).named("stitch_customerio-endpoint-primary")
        assert made.depends_on == ["receiver", "stitch_customerio-schema", "stitch_customerio-token-primary"]

    def test_no_resource_has_an_option_of_its_own(self) -> None:
        assert [made.name for made in run(STITCH).made if made.options] == []

    def test_the_stack_shows_it_with_the_url_and_the_dsn_secret(self) -> None:
        secret = token("stitch_customerio-token-primary", 1)
        assert run(STITCH).stack_outputs == {
            "integrations": {
                "stitch_customerio": {
                    "name": "Stitch Customer.io",
                    "source": "customerio",
                    "events": ["all"],
                    "schema": "stitch_customerio",
                    "active": "primary",
                    "webhook": "by hand",
                    "slots": {
                        "primary": {
                            "url": Secret(f"{RECEIVER_URL}/v1/stitch_customerio/{secret}"),
                            "fingerprint": fingerprint(digest(secret)),
                            "version": 1,
                        }
                    },
                }
            },
            "receiver": RECEIVER_URL,
            "warehouse": {"dsn": Secret(DSN)},
        }

    def test_the_component_keeps_no_secret_of_its_own(self) -> None:
        assert run(STITCH).outputs["stitch_customerio"] == {"schema": "stitch_customerio"}


class TestSecrecy:
    """Nothing secret goes to the engine without its mark."""

    def everything_told(self, engine: Engine) -> str:
        return repr([*engine.made, engine.outputs])

    def test_no_token_key_or_dsn_goes_out_unmarked(self) -> None:
        dsn = "postgresql://me:hunter2@db.example/w"
        engine = run(
            {**STITCH, "signed": True},
            credentials=KEYS,
            warehouseDsn=dsn,
            secret=("credentials", "warehouseDsn"),
        )
        secrets = (token("stitch_customerio-token-primary", 1), "new-key", "old-key", "hunter2")
        for secret in secrets:
            assert secret in self.everything_told(engine), "control: the search would find it"
        unmarked = repr([without_secrets([*engine.made]), without_secrets(engine.outputs)])
        for secret in secrets:
            assert secret not in unmarked

    def test_in_a_rotations_preview_hash_and_fingerprint_are_unknown_and_not_secret(self) -> None:
        engine = run_program(Engine(unknown_passwords=True), preview=True, integrations=[STITCH])
        assert engine.named("stitch_customerio-endpoint-primary").inputs["hash"] == UNKNOWN
        slot = engine.stack_outputs["integrations"]["stitch_customerio"]["slots"]["primary"]
        assert slot == {"url": Secret(UNKNOWN), "fingerprint": UNKNOWN, "version": 1}


class TestSlots:
    def test_two_slots_are_two_tokens_and_two_endpoints_in_one_schema(self) -> None:
        engine = run(TWO_SLOTS)
        assert len(engine.created("RandomPassword")) == 2
        assert sorted(made.inputs["slot"] for made in engine.created("Endpoint")) == ["primary", "secondary"]
        assert len(engine.created("PostgresSchema")) == 1
        slots = engine.stack_outputs["integrations"]["stitch_customerio"]["slots"]
        assert slots["primary"]["url"] != slots["secondary"]["url"]

    def test_a_second_slot_changes_nothing_of_the_first(self) -> None:
        one, two = by_name(run(STITCH)), by_name(run(TWO_SLOTS))
        assert {name: two[name] for name in one} == one
        assert two.keys() - one.keys() == {
            "stitch_customerio-token-secondary",
            "stitch_customerio-endpoint-secondary",
        }

    def test_a_bumped_slot_changes_its_keeper_and_its_endpoints_version_and_hash_and_nothing_else(self) -> None:
        before = by_name(run(TWO_SLOTS))
        after = by_name(run({**STITCH, "tokens": {"primary": 2, "secondary": 1}}))
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"stitch_customerio-token-primary", "stitch_customerio-endpoint-primary"}
        old, new = (seen["stitch_customerio-endpoint-primary"].inputs for seen in (before, after))
        assert {key for key in old if old[key] != new[key]} == {"version", "hash"}
        assert after["stitch_customerio-token-primary"].inputs["keepers"] == {"version": "2"}


CONNECTED: dict[str, Any] = {**STITCH, "connect": True}
APP_KEY = {"stitch_customerio": {"app_api_key": "app-key"}}


def run_connected(integration: dict[str, Any] = CONNECTED, **config: Any) -> Engine:
    given = {"credentials": APP_KEY, "publicUrl": "https://hooks.example.com", **config}
    return run(integration, secret=("credentials",), **given)


class TestConnected:
    """`connect: true`: Sluice tells Customer.io where to post."""

    def test_one_webhook_is_added_and_the_endpoint_knows_of_it(self) -> None:
        alone, connected = by_name(run(STITCH, publicUrl="https://hooks.example.com")), by_name(run_connected())
        assert connected.keys() - alone.keys() == {"stitch_customerio-webhook"}
        changed = {name for name in alone if alone[name] != connected[name]}
        assert changed == {"stitch_customerio-endpoint-primary"}
        inputs = connected["stitch_customerio-endpoint-primary"].inputs
        assert (inputs["active"], inputs["connected"]) == (True, True)

    def test_the_webhook_sends_the_declared_events_to_the_active_slot(self) -> None:
        made = run_connected().named("stitch_customerio-webhook")
        assert made.kind == "sluice:index:ReportingWebhook"
        assert made.parent == "stitch_customerio"
        secret = token("stitch_customerio-token-primary", 1)
        assert made.inputs == {
            "schema": "stitch_customerio",
            "name": "Stitch Customer.io",
            "endpoint": Secret(f"https://hooks.example.com/v1/stitch_customerio/{secret}"),
            "events": list(EVENTS),
            "disabled": False,
            "fullResolution": False,
            "withContent": False,
            "region": "us",
            "signed": False,
            "appApiKey": Secret("app-key"),
        }
        assert sorted(made.secret_outputs) == ["appApiKey", "endpoint"]

    def test_the_sender_is_moved_after_every_endpoint_is_live(self) -> None:
        two = {**CONNECTED, "tokens": {"primary": 1, "secondary": 1}, "active": "secondary"}
        engine = run_connected(two)
        made = engine.named("stitch_customerio-webhook")
        assert {"stitch_customerio-endpoint-primary", "stitch_customerio-endpoint-secondary"} <= {*made.depends_on}
        assert token("stitch_customerio-token-secondary", 1) in made.inputs["endpoint"].value
        active = {made.inputs["slot"]: made.inputs["active"] for made in engine.created("Endpoint")}
        assert active == {"primary": False, "secondary": True}

    def test_the_webhooks_fields_come_from_the_config(self) -> None:
        declared = {
            **CONNECTED,
            "events": ["sms_replied", "email_sent"],
            "region": "eu",
            "fullResolution": True,
            "withContent": True,
        }
        inputs = run_connected(declared, customerioApi="http://127.0.0.1:1/").named("stitch_customerio-webhook").inputs
        assert inputs["events"] == ["email_sent", "sms_replied"]
        assert (inputs["region"], inputs["fullResolution"], inputs["withContent"]) == ("eu", True, True)
        assert inputs["apiUrl"] == "http://127.0.0.1:1"

    def test_an_imported_webhook_is_taken_up_from_the_top_and_nothing_else_has_an_option(self) -> None:
        options = {made.name: made.options for made in run_connected().made if made.options}
        assert list(options) == ["stitch_customerio-webhook"]
        (alias,) = options["stitch_customerio-webhook"]["aliases"]
        assert alias["spec"] == {"noParent": True}

    def test_signed_without_a_key_is_made_disabled_and_said_to_wait(self, said: list[str]) -> None:
        engine = run_connected({**CONNECTED, "signed": True})
        assert engine.named("stitch_customerio-webhook").inputs["disabled"] is True
        endpoint = engine.named("stitch_customerio-endpoint-primary").inputs
        assert (endpoint["signed"], endpoint["signingKeys"]) == (True, Secret([]))
        (message,) = said
        assert (
            "pulumi config set --stack dev --secret --path 'sluice:credentials.stitch_customerio.signing_key'"
            in message
        )
        assert "Reporting Webhooks" in message

    def test_with_its_key_it_is_enabled_and_nothing_is_said(self, said: list[str]) -> None:
        keys = {"stitch_customerio": {"app_api_key": "app-key", "signing_key": "new-key"}}
        engine = run_connected({**CONNECTED, "signed": True}, credentials=keys)
        assert engine.named("stitch_customerio-webhook").inputs["disabled"] is False
        assert engine.named("stitch_customerio-endpoint-primary").inputs["signingKeys"] == Secret(["new-key"])
        assert said == []

    @pytest.mark.parametrize(("signed", "webhook"), [(False, "connected"), (True, "waiting for its signing key")])
    def test_the_stack_says_what_is_left_to_do(self, said: list[str], signed: bool, webhook: str) -> None:
        outputs = run_connected({**CONNECTED, "signed": signed}).stack_outputs
        assert outputs["integrations"]["stitch_customerio"]["webhook"] == webhook

    @pytest.fixture
    def said(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        messages: list[str] = []
        monkeypatch.setattr(pulumi.log, "warn", lambda message, resource: messages.append(message))
        return messages


class TestSeveralIntegrations:
    def test_a_second_one_changes_nothing_of_the_first_wherever_it_stands(self) -> None:
        alone = by_name(run(STITCH))
        for together in (by_name(run(STITCH, BILLING)), by_name(run(BILLING, STITCH))):
            assert {name: together[name] for name in alone} == alone
            assert together.keys() - alone.keys() == {
                "billing",
                "billing-schema",
                "billing-token-primary",
                "billing-endpoint-primary",
            }

    def test_they_share_one_receiver_and_one_server(self) -> None:
        engine = run(STITCH, BILLING)
        assert len(engine.created("Receiver")) == len(engine.created("PostgresServer")) == 1
        assert engine.stack_outputs["integrations"].keys() == {"billing", "stitch_customerio"}

    def test_a_stack_without_any_still_has_its_platform(self) -> None:
        engine = run()
        assert sorted(by_name(engine)) == ["identity", "postgres", "receiver"]
        assert engine.stack_outputs["integrations"] == {}

    def test_a_renamed_integration_with_a_pinned_schema_keeps_every_name_and_its_token(self) -> None:
        before = by_name(run(STITCH))
        after = by_name(run({**STITCH, "name": "Customer.io (new)", "schema": "stitch_customerio"}))
        assert after.keys() == before.keys()
        assert {name for name in before if before[name] != after[name]} == {"stitch_customerio-schema"}
        changed = after["stitch_customerio-schema"].inputs
        assert changed == {**before["stitch_customerio-schema"].inputs, "displayName": "Customer.io (new)"}


class TestOptionsOfTheConfig:
    def test_signed_hands_the_endpoint_both_keys(self) -> None:
        engine = run({**STITCH, "signed": True}, credentials=KEYS, secret=("credentials",))
        inputs = engine.named("stitch_customerio-endpoint-primary").inputs
        assert (inputs["signed"], inputs["signingKeys"]) == (True, Secret(["new-key", "old-key"]))

    def test_keys_without_signed_stay_at_home(self) -> None:
        engine = run(STITCH, credentials=KEYS, secret=("credentials",))
        assert engine.named("stitch_customerio-endpoint-primary").inputs["signingKeys"] == Secret([])

    def test_a_warehouse_of_ones_own_needs_no_server(self) -> None:
        dsn = "postgresql://me:hunter2@db.example/w"
        engine = run(STITCH, warehouseDsn=dsn, secret=("warehouseDsn",))
        assert engine.created("PostgresServer") == []
        assert engine.named("receiver").inputs["warehouseDsn"] == Secret(dsn)
        assert engine.named("stitch_customerio-schema").inputs["dsn"] == Secret(dsn)
        assert engine.stack_outputs["warehouse"] == {"dsn": Secret(dsn)}

    def test_a_public_url_is_what_the_endpoints_begin_with(self) -> None:
        engine = run(STITCH, publicUrl="https://hooks.example.com/")
        assert engine.named("receiver").inputs["publicUrl"] == "https://hooks.example.com"
        slot = engine.stack_outputs["integrations"]["stitch_customerio"]["slots"]["primary"]
        assert slot["url"].value.startswith("https://hooks.example.com/v1/stitch_customerio/slc_")

    def test_ports_sizes_and_the_rest_reach_their_resources(self) -> None:
        engine = run(
            {**STITCH, "loading": "append", "adopt": True, "events": ["sms_*", "email_sent"]},
            port=9001,
            adminHost="10.1.2.3",
            adminPort=9003,
            postgresPort=9002,
            spoolMaxBytes=2 * 1024**2,
            keepFreeBytes=0,
            destroyData=True,
        )
        assert engine.named("postgres").inputs == {"port": 9002}
        receiver = engine.named("receiver").inputs
        assert (receiver["port"], receiver["adminHost"], receiver["adminPort"]) == (9001, "10.1.2.3", 9003)
        assert (receiver["spoolMaxBytes"], receiver["keepFreeBytes"]) == (2 * 1024**2, 0)
        schema = engine.named("stitch_customerio-schema").inputs
        assert (schema["loading"], schema["adopt"], schema["destroyData"]) == ("append", True, True)
        events = engine.stack_outputs["integrations"]["stitch_customerio"]["events"]
        assert events[0] == "email_sent"
        assert len(events) == 12


class TestMistakes:
    def test_a_config_with_mistakes_ends_the_program_before_any_resource_is_registered(self) -> None:
        engine = Engine()
        with pytest.raises(pulumi.RunError) as caught:
            run_program(engine, integrations=[{**STITCH, "tokens": {"primary": 0}}], drain=99, platfrom="local")
        assert engine.made == []
        lines = str(caught.value).splitlines()
        assert [line.split(" = ")[0].split(": ")[0] for line in lines[1:]] == [
            "  - sluice:integrations[0].tokens.primary",
            "  - sluice:drain",
            "  - sluice:platfrom",
        ]

    def test_a_secret_in_clear_is_refused_by_what_the_engine_says_of_it(self) -> None:
        with pytest.raises(pulumi.RunError, match="is stored in clear"):
            run(STITCH, credentials=KEYS)
        run(STITCH, credentials=KEYS, secret=("credentials",))
