"""The stack's config: every mistake at once, at its path, with what would be right, and no secret shown."""

import json
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.customerio.events import EVENTS
from components.settings import Mistake, Settings, SettingsError, parse, path

ROOT = Path(__file__).parents[2]
STITCH: dict[str, Any] = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 1}}
KEY = "a-key-that-nobody-may-see"


def read(
    secret: tuple[str, ...] = ("credentials", "warehouseDsn"),
    aws_region: str | None = None,
    passphrase: str | None = None,
    **config: Any,
) -> Settings:
    return parse(config, stack="dev", secret_keys=secret, aws_region=aws_region, passphrase=passphrase)


def mistakes(secret: tuple[str, ...] = ("credentials", "warehouseDsn"), **config: Any) -> list[Mistake]:
    with pytest.raises(SettingsError) as caught:
        read(secret, **config)
    return caught.value.mistakes


def only(found: list[Mistake]) -> Mistake:
    (mistake,) = found
    return mistake


def stitch(**changes: Any) -> dict[str, Any]:
    return {**STITCH, **changes}


# What a valid config becomes


def test_the_shortest_integration_needs_a_name_a_source_and_a_token() -> None:
    (integration,) = read(integrations=[STITCH]).integrations
    assert integration.schema_name == "stitch_customerio"
    assert integration.event_names == list(EVENTS)
    assert integration.tokens.by_slot == {"primary": 1}
    assert (integration.active, integration.loading) == ("primary", "upsert")
    assert not (integration.connect or integration.signed or integration.adopt)


def test_an_empty_config_is_a_stack_without_integrations() -> None:
    settings = read()
    assert settings.integrations == []
    assert (settings.platform, settings.port, settings.postgres_port, settings.drain) == ("local", 8787, 0, 30)
    assert (settings.spool_max_bytes, settings.keep_free_bytes) == (5 * 1024**3, 1024**3)
    assert settings.public_url is None
    assert settings.warehouse_dsn is None
    assert not settings.destroy_data


def test_patterns_expand_to_names_in_the_sources_order_and_once_each() -> None:
    (integration,) = read(
        integrations=[stitch(events=["sms_*", "email_sent", "email_[so]*", "*_replied"])]
    ).integrations
    expected = [event for event in EVENTS if event.startswith(("sms_", "email_s", "email_o")) or "replied" in event]
    assert integration.event_names == expected


def test_a_pinned_schema_outlives_the_name() -> None:
    (integration,) = read(integrations=[stitch(name="2026!", schema="stitch_customerio")]).integrations
    assert integration.schema_name == "stitch_customerio"


def test_two_slots_come_in_their_order() -> None:
    tokens = {"secondary": 4, "primary": 3}
    (integration,) = read(integrations=[stitch(tokens=tokens, active="secondary")]).integrations
    assert list(integration.tokens.by_slot.items()) == [("primary", 3), ("secondary", 4)]


def test_signing_keys_are_the_one_in_use_and_then_the_one_before_it() -> None:
    credentials = {"stitch_customerio": {"signing_key": "new", "previous_signing_key": "old"}}
    for signed, keys in ((True, ["new", "old"]), (False, [])):
        settings = read(integrations=[stitch(signed=signed)], credentials=credentials)
        found = settings.signing_keys(settings.integrations[0])
        assert [key.get_secret_value() for key in found] == keys


def test_the_engines_texts_and_plain_values_are_the_same_config() -> None:
    plain: dict[str, Any] = {
        "platform": "local",
        "integrations": [stitch(signed=True)],
        "credentials": {"stitch_customerio": {"signing_key": KEY}},
        "port": 9000,
        "publicUrl": "https://hooks.example.com/",
        "destroyData": True,
    }
    texts: dict[str, Any] = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in plain.items()
    }
    assert read(**texts) == read(**plain)
    assert read(**texts).public_url == "https://hooks.example.com"


@pytest.mark.parametrize(
    "url",
    ["https://a.example", "https://a.example:8443/x/", "http://localhost:1", "http://127.0.0.1", "http://[::1]:80"],
)
def test_a_public_url_is_https_or_of_this_machine(url: str) -> None:
    assert read(publicUrl=url).public_url == url.rstrip("/")


def test_pulumi_yaml_describes_every_key_with_the_default_that_it_has() -> None:
    described = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert list(described) == [field.alias for field in Settings.model_fields.values()]
    assert all(len(entry["description"]) > 20 for entry in described.values())
    defaults = {key: entry["default"] for key, entry in described.items()}
    assert read(secret=(), **defaults) == read()
    assert {key for key, entry in described.items() if entry.get("secret")} == {"credentials", "warehouseDsn"}
    assert not any("type" in entry for entry in described.values())  # see the comment there


def test_the_dev_stack_as_shipped_is_valid() -> None:
    stack = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
    settings = read(secret=(), **{key.removeprefix("sluice:"): value for key, value in stack.items()})
    (integration,) = settings.integrations
    assert (integration.name, integration.schema_name) == ("Stitch Customer.io", "stitch_customerio")
    assert settings.destroy_data


# Mistakes, one by one


@pytest.mark.parametrize(
    ("config", "at", "value", "says"),
    [
        ({"platfrom": "local"}, "platfrom", "", "unknown key; did you mean `platform`?"),
        ({"platform": "azure"}, "platform", '"azure"', "must be `local` or `aws`"),
        ({"integrations": "x"}, "integrations", '"x"', "must be a list"),
        ({"integrations": ["x"]}, "integrations[0]", '"x"', "must be an object"),
        ({"port": "abc"}, "port", '"abc"', "must be a whole number"),
        ({"port": 1.5}, "port", "1.5", "must be a whole number"),
        ({"port": True}, "port", "true", "must be a whole number"),
        ({"port": 0}, "port", "0", "must be 1 or more"),
        ({"port": 65536}, "port", "65536", "must be 65535 or less"),
        ({"postgresPort": -1}, "postgresPort", "-1", "must be 0 or more"),
        ({"postgresPort": 8787}, "postgresPort", "8787", "is the receiver's port too"),
        ({"postgresPort": 70, "port": 70}, "postgresPort", "70", "is the receiver's port too"),
        *(
            ({"adminHost": wrong}, "adminHost", json.dumps(wrong), "must be an address or a name of this machine")
            for wrong in ("127.1", "1.2.3.4.5", "[::1]", "localhost:80", "http://x", "a b", "a/b", "-a", "a..b", "<b>")
        ),
        ({"adminPort": -1}, "adminPort", "-1", "must be 0 or more"),
        ({"adminPort": 65536}, "adminPort", "65536", "must be 65535 or less"),
        ({"adminPort": 8787}, "adminPort", "8787", "is the receiver's port too: use another one, or 0 for no status"),
        ({"port": 8788}, "adminPort", "", "is the receiver's port too: use another one, or 0 for no status page"),
        ({"postgresPort": 8788}, "postgresPort", "8788", "is the status page's port too: use another one, or 0"),
        ({"drain": 31}, "drain", "31", "must be 30 or less"),
        ({"drain": -1}, "drain", "-1", "must be 0 or more"),
        ({"spoolMaxBytes": 0}, "spoolMaxBytes", "0", "must be 1048576 or more"),
        ({"spoolMaxBytes": "5 GiB"}, "spoolMaxBytes", '"5 GiB"', "must be a whole number"),
        ({"keepFreeBytes": -1}, "keepFreeBytes", "-1", "must be 0 or more"),
        ({"destroyData": "yes"}, "destroyData", '"yes"', "must be true or false"),
        ({"publicUrl": "hooks.example.com"}, "publicUrl", '"hooks.example.com"', "must be an address such as"),
        ({"publicUrl": "http://hooks.example.com"}, "publicUrl", '"http://hooks.example.com"', "https://"),
        ({"publicUrl": "https://a.example?x=1"}, "publicUrl", '"https://a.example?x=1"', "no user, query"),
        ({"publicUrl": "https://me:pw@a.example"}, "publicUrl", "", "no user, query"),
        ({"publicUrl": "https://a.example:x"}, "publicUrl", '"https://a.example:x"', "must be an address"),
        ({"publicUrl": "https://a b"}, "publicUrl", '"https://a b"', "must be an address"),
        ({"publicUrl": "https://a.example/v1/s/slc_x"}, "publicUrl", "", "not that of an endpoint"),
        ({"warehouseDsn": f"mysql://u:{KEY}@h/d"}, "warehouseDsn", "", "must be of the form postgresql://"),
        ({"warehouseDsn": f"postgresql://u:{KEY}@{KEY}@h/d"}, "warehouseDsn", "", "is written %40"),
        ({"credentials": {"nobody": {}}}, "credentials.nobody", "", "no integration has this schema"),
        ({"credentials": []}, "credentials", "", "must be an object"),
    ],
)
def test_a_mistake_of_the_stack(config: dict[str, Any], at: str, value: str, says: str) -> None:
    mistake = only(mistakes(**config))
    assert (mistake.path, mistake.value) == (f"sluice:{at}", value)
    assert says in mistake.problem


@pytest.mark.parametrize(
    ("changes", "at", "value", "says"),
    [
        ({"evnts": "all"}, "evnts", "", "unknown key; did you mean `events`?"),
        ({"signing_key": KEY}, "signing_key", "", "unknown key"),
        ({"name": ""}, "name", '""', "must not be empty"),
        ({"name": " x"}, "name", '" x"', "must not start or end with a space"),
        ({"name": "a\nb"}, "name", '"a\\nb"', "no control characters"),
        ({"name": 2026}, "name", "2026", "must be text; a number"),
        ({"name": "####"}, "name", '"####"', "nothing is left of '####'"),
        ({"name": "2026 events"}, "name", '"2026 events"', "which must start with a letter"),
        ({"name": "漢字"}, "name", '"漢字"', "with `schema:`"),
        ({"name": "Public"}, "name", '"Public"', "which is reserved"),
        ({"source": "customer.io"}, "source", '"customer.io"', "must be `customerio`"),
        ({"events": "email_*"}, "events", '"email_*"', "must be `all` or a list, such as [email_*]"),
        ({"events": []}, "events", "[]", "must name at least one event, or be `all`"),
        (
            {"events": ["email_sendt"]},
            "events[0]",
            '"email_sendt"',
            "no event of customerio; did you mean `email_sent`?",
        ),
        ({"events": ["email_sent", "fax_*"]}, "events[1]", '"fax_*"', "matches none of the 72 events"),
        ({"events": ["all"]}, "events[0]", '"all"', "write `events: all`"),
        ({"events": ["slack_undeliverable"]}, "events[0]", '"slack_undeliverable"', "has no such event to ask for"),
        (
            {"events": ["cio_subscription_preferences_changed"]},
            "events[0]",
            '"cio_subscription_preferences_changed"',
            "did you mean `customer_subscription_preferences_changed`?",
        ),
        ({"region": "asia"}, "region", '"asia"', "must be `us` or `eu`"),
        ({"fullResolution": 1}, "fullResolution", "1", "must be true or false"),
        ({"withContent": "no"}, "withContent", '"no"', "must be true or false"),
        ({"events": [7]}, "events[0]", "7", "must be text"),
        ({"tokens": {}}, "tokens.primary", "", "is missing: start with `tokens: {primary: 1}`"),
        ({"tokens": {"secondary": 1}, "active": "secondary"}, "tokens.primary", "", "is missing"),
        ({"tokens": {"primary": 0}}, "tokens.primary", "0", "must be 1 or more"),
        ({"tokens": {"primary": "1"}}, "tokens.primary", '"1"', "must be a whole number"),
        ({"tokens": {"primary": 1, "tertiary": 1}}, "tokens.tertiary", "", "unknown key; there are primary, secondary"),
        ({"tokens": {"primary": "slc_" + "x" * 49}}, "tokens.primary", "", "must be a whole number"),
        ({"tokens": 1}, "tokens", "1", "must be an object"),
        ({"active": "secondary"}, "active", '"secondary"', "add `secondary: 1` to `tokens`"),
        ({"active": "third"}, "active", '"third"', "must be `primary` or `secondary`"),
        ({"signed": "true"}, "signed", '"true"', "must be true or false"),
        ({"adopt": 1}, "adopt", "1", "must be true or false"),
        ({"loading": "replace"}, "loading", '"replace"', "must be `upsert` or `append`"),
        ({"schema": "Stitch"}, "schema", '"Stitch"', "must start with a letter"),
        ({"schema": "pg_x"}, "schema", '"pg_x"', "reserved"),
        ({"schema": ""}, "schema", '""', "must start with a letter"),
    ],
)
def test_a_mistake_of_an_integration(changes: dict[str, Any], at: str, value: str, says: str) -> None:
    mistake = only(mistakes(integrations=[stitch(name="Another"), stitch(**changes)]))
    assert (mistake.path, mistake.value) == (f"sluice:integrations[1].{at}", value)
    assert says in mistake.problem


@pytest.mark.parametrize("key", ["name", "source", "tokens"])
def test_what_every_integration_must_say(key: str) -> None:
    item = {name: value for name, value in STITCH.items() if name != key}
    mistake = only(mistakes(integrations=[item]))
    assert (mistake.path, mistake.value) == (f"sluice:integrations[0].{key}", "")
    assert "is missing" in mistake.problem


def test_two_names_with_one_schema_are_both_named() -> None:
    mistake = only(mistakes(integrations=[stitch(), stitch(name="Stitch-Customerio")]))
    assert (mistake.path, mistake.value) == ("sluice:integrations[1].name", '"Stitch-Customerio"')
    assert "'Stitch-Customerio' gets the schema stitch_customerio" in mistake.problem
    assert "which 'Stitch Customer.io' (sluice:integrations[0]) has already" in mistake.problem


def test_a_pinned_schema_that_is_taken_is_a_mistake_at_the_pin() -> None:
    mistake = only(mistakes(integrations=[stitch(), stitch(name="Other", schema="stitch_customerio")]))
    assert mistake.path == "sluice:integrations[1].schema"


def test_one_name_for_two_integrations_is_a_mistake_even_with_two_schemas() -> None:
    mistake = only(mistakes(integrations=[stitch(), stitch(schema="other")]))
    assert mistake.path == "sluice:integrations[1].name"
    assert "people find an integration by its name" in mistake.problem


# Secrets


def test_signed_without_a_key_says_how_to_set_it() -> None:
    mistake = only(mistakes(integrations=[stitch(signed=True)]))
    assert mistake.path == "sluice:credentials.stitch_customerio.signing_key"
    assert "sluice:integrations[0] has `signed: true`" in mistake.problem
    command = "pulumi config set --stack dev --secret --path 'sluice:credentials.stitch_customerio.signing_key'"
    assert command in mistake.problem


@pytest.mark.parametrize("key", ["", " " + KEY, KEY + "\n", "two words"])
def test_a_key_with_white_space_is_a_mistake_that_does_not_show_it(key: str) -> None:
    credentials = {"stitch_customerio": {"signing_key": key}}
    mistake = only(mistakes(integrations=[stitch(signed=True)], credentials=credentials))
    assert mistake.path == "sluice:credentials.stitch_customerio.signing_key"
    assert KEY not in str(mistake)


def test_the_key_before_it_alone_is_a_mistake() -> None:
    credentials = {"stitch_customerio": {"previous_signing_key": KEY}}
    mistake = only(mistakes(integrations=[STITCH], credentials=credentials))
    assert mistake.path == "sluice:credentials.stitch_customerio.previous_signing_key"


def test_an_unknown_credential_names_the_known_ones() -> None:
    credentials = {"stitch_customerio": {"singing_key": KEY}, "stich_customerio": {}}
    unknown, nobody = mistakes(integrations=[STITCH], credentials=credentials)
    assert unknown.path == "sluice:credentials.stitch_customerio.singing_key"
    assert "there are app_api_key, signing_key, previous_signing_key" in unknown.problem
    assert nobody.path == "sluice:credentials.stich_customerio"
    assert "there are stitch_customerio" in nobody.problem


def test_secrets_stored_in_clear_are_mistakes_with_the_command_that_hides_them() -> None:
    credentials = {"stitch_customerio": {"signing_key": KEY}}
    found = mistakes(
        secret=(), integrations=[STITCH], credentials=credentials, warehouseDsn=f"postgresql://u:{KEY}@h/d"
    )
    assert [mistake.path for mistake in found] == [
        "sluice:credentials.stitch_customerio.signing_key",
        "sluice:warehouseDsn",
    ]
    for mistake in found:
        assert f"pulumi config set --stack dev --secret --path '{mistake.path}'" in mistake.problem
        assert KEY not in str(mistake)


def test_a_secret_inside_the_list_of_integrations_is_sent_to_its_place() -> None:
    mistake = only(mistakes(secret=("integrations",), integrations=[stitch(name="####" + KEY, schema="ok")]))
    assert mistake.path == "sluice:integrations"
    assert "sluice:credentials" in mistake.problem
    assert KEY not in str(mistake)


@pytest.mark.parametrize(
    "config",
    [
        {"credentials": {"stitch_customerio": {"signing_key": KEY, "app_api_key": KEY}}},
        {"warehouseDsn": f"postgresql://u:{KEY}@h/d"},
    ],
)
def test_no_secret_is_in_a_valid_configs_text(config: dict[str, Any]) -> None:
    settings = read(integrations=[stitch()], **config)
    for text in (repr(settings), str(settings), repr(settings.credentials), settings.model_dump_json()):
        assert KEY not in text


@pytest.mark.parametrize(
    "config",
    [
        {"credentials": KEY},
        {"credentials": [KEY]},
        {"credentials": {"stitch_customerio": KEY}},
        {"credentials": {"stitch_customerio": {"signing_key": [KEY]}}},
        {"credentials": {"stitch_customerio": {"signing_key": {"value": KEY}}}},
        {"credentials": {"stitch_customerio": {"sining_key": KEY}}},
        {"warehouseDsn": KEY},
        {"warehouseDsn": f"postgresql://u:{KEY}@[h/d"},
        {"warehouseDsn": [KEY]},
        {"warehouseDns": f"postgresql://u:{KEY}@h/d"},
        {"publicUrl": f"https://u:{KEY}@h"},
        {"integrations": [stitch(credentials={"signing_key": KEY})]},
        {"integrations": [stitch(tokens={"primary": 1, "signing_key": KEY})]},
    ],
)
@pytest.mark.parametrize("stored", [(), ("credentials", "warehouseDsn")])
def test_no_secret_is_in_any_complaint_or_traceback(config: dict[str, Any], stored: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError) as caught:
        read(stored, **config)
    shown = [str(caught.value), repr(caught.value), repr(caught.value.mistakes)]
    shown += traceback.format_exception(caught.value)
    assert all(KEY not in text for text in shown)
    assert caught.value.__context__ is None  # nothing else that a logger might print


def test_the_search_for_leaks_finds_one() -> None:
    """Control: a value that isn't secret is shown, by the same means."""
    assert KEY in str(only(mistakes(integrations=[stitch(loading=KEY)])))


# AWS


def on_aws(**config: Any) -> dict[str, Any]:
    return {"platform": "aws", "aws_region": "eu-west-1", "integrations": [STITCH], **config}


def test_the_integrations_of_one_machine_are_those_of_aws() -> None:
    assert read(**on_aws()).integrations == read(integrations=[STITCH]).integrations


def test_the_prod_stack_as_shipped_is_valid() -> None:
    stack = yaml.safe_load((ROOT / "Pulumi.prod.yaml").read_text())["config"]
    own = {key.removeprefix("sluice:"): value for key, value in stack.items() if key.startswith("sluice:")}
    settings = read(secret=(), aws_region=stack["aws:region"], **own)
    assert (settings.platform, settings.protect, settings.destroy_data) == ("aws", True, False)


def test_without_a_region_nothing_can_be_made() -> None:
    mistake = only(mistakes(**on_aws(aws_region=None)))
    assert (mistake.path, mistake.problem) == (
        "aws:region",
        "is missing: pulumi config set --stack dev aws:region eu-west-1",
    )
    assert "no region's name" in only(mistakes(**on_aws(aws_region="Ireland"))).problem


def test_the_passphrase_that_everybody_knows_is_refused() -> None:
    mistake = only(mistakes(**on_aws(passphrase="sluice-dev")))
    assert mistake.path == "PULUMI_CONFIG_PASSPHRASE"
    assert "everybody knows" in mistake.problem
    assert read(**on_aws(passphrase="one of its own")).platform == "aws"
    assert read(integrations=[STITCH], passphrase="sluice-dev").platform == "local"


def test_what_can_be_destroyed_is_not_protected() -> None:
    assert only(mistakes(**on_aws(destroyData=True))).path == "sluice:destroyData"
    assert read(**on_aws(destroyData=True, protect=False)).destroy_data


def test_what_was_taken_up_is_never_dropped_with_the_bucket() -> None:
    adopting = [stitch(adopt=True)]
    mistake = only(mistakes(**on_aws(integrations=adopting, destroyData=True, protect=False)))
    assert mistake.path == "sluice:integrations[0].adopt"
    assert read(**on_aws(integrations=adopting))


def test_there_is_no_upsert_on_aws() -> None:
    mistake = only(mistakes(**on_aws(integrations=[stitch(loading="upsert")])))
    assert mistake.path == "sluice:integrations[0].loading"
    assert read(**on_aws(integrations=[stitch(loading="append")]))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("port", 8788),
        ("adminHost", "::"),
        ("adminPort", 0),
        ("postgresPort", 5432),
        ("spoolMaxBytes", 2**30),
        ("keepFreeBytes", 2**20),
        ("drain", 0),
    ],
)
def test_a_key_of_one_machine_is_refused_on_aws_unless_it_says_what_pulumi_yaml_says(key: str, value: object) -> None:
    mistake = only(mistakes(**on_aws(**{key: value})))
    assert (mistake.path, mistake.problem) == (
        f"sluice:{key}",
        "has a meaning on platform local only: take it out",
    )
    default = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"][key]["default"]
    assert read(**on_aws(**{key: default}))


@pytest.mark.parametrize(
    ("key", "value", "wrong", "says"),
    [
        ("schemaPrefix", "prod_", "9 lives", "must be at most 32 of a-z, 0-9 and _"),
        ("protect", False, "no", "must be true or false"),
        ("logRetentionDays", 90, 31, "must be one of 1, 3, 5,"),
        ("reservedConcurrency", 10, 0, "must be 1 or more"),
        ("functionRuntime", "python3.12", "python2.7", "must be `python3.11`, `python3.12`"),
        ("functionArchitecture", "x86_64", "sparc", "must be `arm64` or `x86_64`"),
        ("streamDrain", 0, -1, "must be 0 or more"),
        ("alarmEmail", "data@example.com", "data", "must be an e-mail address"),
    ],
)
def test_a_key_of_aws_is_checked_there_and_refused_on_one_machine(key: str, value: Any, wrong: Any, says: str) -> None:
    assert read(**on_aws(**{key: value}))
    mistake = only(mistakes(**on_aws(**{key: wrong})))
    assert mistake.path == f"sluice:{key}"
    assert says in mistake.problem
    assert "on platform aws only" in only(mistakes(**{key: value})).problem


def test_redshift_needs_a_workgroup_and_a_role() -> None:
    good = {"workgroup": "analytics", "iamRole": "arn:aws:iam::123456789012:role/spectrum"}
    settings = read(**on_aws(redshift=good)).redshift
    assert settings is not None
    assert settings.database == "dev"
    found = mistakes(**on_aws(redshift={"workgroup": "No", "iamRole": "spectrum", "databse": "dev"}))
    assert [mistake.path for mistake in found] == [
        "sluice:redshift.workgroup",
        "sluice:redshift.iamRole",
        "sluice:redshift.databse",
    ]
    assert "`database`" in found[-1].problem or "there are" in found[-1].problem


def test_how_long_an_integration_may_be_silent_has_bounds() -> None:
    (integration,) = read(integrations=[stitch(maxSilenceHours=24)]).integrations
    assert integration.max_silence_hours == 24
    for hours in (0, 169):
        assert only(mistakes(integrations=[stitch(maxSilenceHours=hours)])).path.endswith("maxSilenceHours")


# Connected


CONNECTED: dict[str, Any] = {
    "integrations": [stitch(connect=True)],
    "credentials": {"stitch_customerio": {"app_api_key": KEY}},
    "publicUrl": "https://hooks.example.com",
}


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in CONNECTED.items() if key not in keys}


def test_connect_needs_an_api_key_and_an_address_that_customerio_can_reach() -> None:
    key, url = mistakes(integrations=[stitch(connect=True)])
    assert key.path == "sluice:credentials.stitch_customerio.app_api_key"
    assert "pulumi config set --stack dev --secret --path 'sluice:credentials.stitch_customerio.app_api_key'" in str(
        key
    )
    assert url.path == "sluice:publicUrl"
    assert "Customer.io must reach the receiver" in url.problem
    read(**CONNECTED)


def test_an_address_of_this_machine_is_none_that_customerio_can_reach() -> None:
    mistake = only(mistakes(**{**CONNECTED, "publicUrl": "http://127.0.0.1:8787"}))
    assert (mistake.path, mistake.value) == ("sluice:publicUrl", '"http://127.0.0.1:8787"')
    assert "is this machine's own" in mistake.problem


@pytest.mark.parametrize("api", ["http://127.0.0.1:9999", "http://localhost", "https://[::1]:1/"])
def test_a_loopback_api_needs_no_public_url(api: str) -> None:
    assert read(**without("publicUrl"), customerioApi=api).customerio_api == api.rstrip("/")


@pytest.mark.parametrize("api", ["", "https://proxy.example.com"])
def test_any_other_api_needs_one(api: str) -> None:
    assert only(mistakes(**without("publicUrl"), customerioApi=api)).path == "sluice:publicUrl"


@pytest.mark.parametrize("api", ["http://proxy.example.com", "api.customer.io", f"https://me:{KEY}@proxy.example.com"])
def test_an_unusable_api_address_is_a_mistake(api: str) -> None:
    mistake = only(mistakes(**without("publicUrl"), customerioApi=api))
    assert mistake.path == "sluice:customerioApi"
    assert KEY not in str(mistake)


def test_signed_and_connected_may_wait_for_its_key_but_signed_alone_may_not() -> None:
    settings = read(**{**CONNECTED, "integrations": [stitch(connect=True, signed=True)]})
    connection = settings.connection(settings.integrations[0])
    assert connection is not None
    assert connection.waits_for_key
    assert settings.signing_keys(settings.integrations[0]) == []
    mistake = only(mistakes(**{**CONNECTED, "integrations": [stitch(signed=True)]}))
    assert mistake.path == "sluice:credentials.stitch_customerio.signing_key"


def test_a_connection_holds_the_key_without_showing_it() -> None:
    settings = read(**CONNECTED)
    connection = settings.connection(settings.integrations[0])
    assert connection is not None
    assert connection.app_api_key.get_secret_value() == KEY
    assert KEY not in repr(connection)
    assert not connection.waits_for_key


def test_an_integration_that_isnt_connected_has_no_connection() -> None:
    settings = read(integrations=[STITCH], credentials=CONNECTED["credentials"])
    assert settings.connection(settings.integrations[0]) is None


def test_a_service_accounts_token_is_no_app_api_key() -> None:
    token = f"sa_live_{KEY}"
    mistake = only(mistakes(**{**CONNECTED, "credentials": {"stitch_customerio": {"app_api_key": token}}}))
    assert mistake.path == "sluice:credentials.stitch_customerio.app_api_key"
    assert "an App API key is needed" in mistake.problem
    assert KEY not in str(mistake)


# All at once


def test_every_mistake_is_reported_at_once_in_the_configs_order() -> None:
    found = mistakes(
        unheardOf=1,
        drain=99,
        platform="azure",
        credentials={"stitch_customerio": {"signing_key": ""}},
        integrations=[
            stitch(tokens={"primary": 0}, events=["email_sendt", "sms_*", "fax_*"], active="secondary"),
            stitch(evnts="all", signed="yes"),
            "nonsense",
        ],
    )
    assert [mistake.path for mistake in found] == [
        "sluice:platform",
        "sluice:integrations[0].tokens.primary",
        "sluice:integrations[0].events[0]",
        "sluice:integrations[0].events[2]",
        "sluice:integrations[0].active",
        "sluice:integrations[1].signed",
        "sluice:integrations[1].evnts",
        "sluice:integrations[1].name",
        "sluice:integrations[2]",
        "sluice:credentials.stitch_customerio.signing_key",
        "sluice:drain",
        "sluice:unheardOf",
    ]


def test_the_text_of_the_error_lists_the_mistakes_one_a_line() -> None:
    with pytest.raises(SettingsError) as caught:
        read(drain=99, port="x")
    assert str(caught.value).splitlines() == [
        "the config of stack dev has 2 mistakes; nothing was changed:",
        '  - sluice:port = "x": must be a whole number',
        "  - sluice:drain = 99: must be 30 or less",
    ]


JSON: Callable[[], st.SearchStrategy[Any]] = lambda: st.recursive(  # noqa: E731
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["all", "primary", 1, "local"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["name", "source", "events", "tokens", "active", "primary", "schema", "connect", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)


@given(
    st.dictionaries(
        st.sampled_from([*(field.alias or "" for field in Settings.model_fields.values()), "x.y"]),
        JSON() | st.lists(st.fixed_dictionaries({}, optional={key: JSON() for key in (*STITCH, "events", "signed")})),
        max_size=4,
    )
)
def test_any_config_is_settings_or_a_list_of_mistakes(config: dict[str, Any]) -> None:
    try:
        read(**config)
    except SettingsError as error:
        assert error.mistakes
        assert all(mistake.path.startswith("sluice:") and mistake.problem for mistake in error.mistakes)


@pytest.mark.parametrize(
    ("location", "text"),
    [
        (("integrations", 1, "events", 0), "sluice:integrations[1].events[0]"),
        (("credentials", "a.b", "c"), 'sluice:credentials["a.b"].c'),
        (("port",), "sluice:port"),
    ],
)
def test_a_path_is_written_as_pulumi_config_takes_it(location: tuple[str | int, ...], text: str) -> None:
    assert path(location) == text


@pytest.mark.parametrize(
    ("given", "read_as"),
    [("::", "::"), ("10.1.2.3", "10.1.2.3"), ("Box.Example.com", "box.example.com"),
     ("localhost", "localhost"), ("0:0:0:0:0:0:0:1", "::1")],
)  # fmt: skip
def test_the_status_page_may_be_given_an_address_or_a_name(given: str, read_as: str) -> None:
    assert read().admin_host == "127.0.0.1"
    assert read(adminHost=given).admin_host == read_as
