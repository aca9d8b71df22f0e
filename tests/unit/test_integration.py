"""The Integration alone, on a platform of the test's own: what it asks for, and what it hands on.

Proof limit: which options the engine lets children inherit is not shown here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi.runtime
from pulumi import Output, ResourceOptions

from components.integration import Integration
from components.local.platform import LocalPlatform
from components.platform import Endpoint, Platform
from components.settings import IntegrationSettings, Settings, parse
from components.token import Token
from tests.unit.recording import RECEIVER_URL, Engine

STITCH = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 3, "secondary": 5}}


def settings() -> Settings:
    return parse({"integrations": [STITCH]}, stack="dev", secret_keys=())


class Part(pulumi.CustomResource):
    def __init__(self, name: str, **options: Any) -> None:
        super().__init__("test:index:Part", name, {}, ResourceOptions(**options))


@dataclass
class Elsewhere:
    """A platform that isn't the local one."""

    asked: list[str] = field(default_factory=list)
    settle_seconds: int = 0
    url: pulumi.Output[str] = field(default_factory=lambda: Output.from_input("https://elsewhere"))
    warehouse: Mapping[str, Any] = field(default_factory=dict)

    def schema(self, integration: IntegrationSettings, *, parent: pulumi.Resource) -> pulumi.Resource:
        self.asked.append("schema")
        return Part(f"{integration.schema_name}-somewhere", parent=parent)

    def endpoint(
        self,
        integration: IntegrationSettings,
        slot: str,
        token: Token,
        *,
        schema: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> Endpoint:
        self.asked.append(slot)
        part = Part(f"{integration.schema_name}-{slot}", parent=parent, depends_on=[schema])
        return Endpoint(url=Output.concat("https://elsewhere/", token.printed), resource=part)


def test_any_platform_will_do(engine: Engine) -> None:
    mine = Elsewhere()
    made: list[Integration] = []

    @pulumi.runtime.test
    def build() -> None:
        elsewhere: Platform = mine
        made.append(Integration(settings().integrations[0], elsewhere))

    build()
    assert mine.asked == ["schema", "primary", "secondary"]
    assert {slot: part.version for slot, part in made[0].slots.items()} == {"primary": 3, "secondary": 5}
    assert {part.parent for part in engine.created("Part")} == {"stitch_customerio"}
    assert engine.named("stitch_customerio-secondary").depends_on == ["stitch_customerio-somewhere"]


@pulumi.runtime.test
def test_each_slot_has_a_secret_url_of_its_own_and_a_fingerprint_that_is_not_secret(
    engine: Engine,
) -> Output[None]:
    stack = settings()
    slots = Integration(stack.integrations[0], LocalPlatform(stack)).slots.values()

    async def secretness(urls: list[str]) -> None:
        assert len(set(urls)) == 2
        assert all(url.startswith(f"{RECEIVER_URL}/v1/stitch_customerio/slc_") for url in urls)
        for slot in slots:
            assert await slot.url.is_secret()
            assert not await slot.fingerprint.is_secret()

    return Output.all(*(slot.url for slot in slots)).apply(secretness)


def test_the_callers_options_stay_with_the_component(engine: Engine) -> None:
    stack = settings()

    @pulumi.runtime.test
    def build() -> None:
        opts = ResourceOptions(
            protect=True, ignore_changes=["schema"], retain_on_delete=True, delete_before_replace=True
        )
        Integration(stack.integrations[0], LocalPlatform(stack), opts=opts)

    build()
    assert engine.named("stitch_customerio").options.keys() >= {"protect", "ignoreChanges", "retainOnDelete"}
    children = [made for made in engine.made if made.parent == "stitch_customerio"]
    assert len(children) == 5
    # Protection comes from the parent, by Pulumi's own inheritance; anything else would have been merged in.
    assert {option for child in children for option in child.options} <= {"protect"}
