"""The resource `ReportingWebhook`: the webhook by which Customer.io sends an integration's events to its endpoint.

It is found again by the id that Customer.io gave it, else by its exact endpoint, which holds our token; never by its
name, which would seize the webhook that still feeds another system. Moving it to another endpoint is an update in
place, so that a rotation is one request, made after the new endpoint is live and before the old one goes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from components import naming
from components.customerio.signing import new_webhook_has_its_own_key
from provider.resource import Context, Properties, Resource, ResourceError

# The client is imported where it is first used: with its HTTP library it takes 0.3 s, which every `up` would pay.
if TYPE_CHECKING:
    from provider.customerio import CustomerIO, Registered, Webhook


class ReportingWebhook(Resource):
    """Inputs: schema, name, endpoint (secret), events, disabled, fullResolution, withContent, region, apiUrl (only
    where it isn't the region's own), appApiKey (secret), settleSeconds (how long an update that moves it waits before
    it returns, for what is under way to the old endpoint), and for a warning alone: signed (deliveries are checked with
    a stored key). Outputs: the same, and webhookId. Id: <schema>/<webhookId>.
    """

    token = "sluice:index:ReportingWebhook"  # noqa: S105
    secrets: ClassVar = frozenset({"endpoint", "appApiKey"})
    replaces: ClassVar = frozenset({"schema"})
    outputs: ClassVar = frozenset({"webhookId"})
    sets: ClassVar = frozenset({"events"})

    async def remark(self, context: Context, state: Properties, inputs: Properties) -> None:
        added = [event for event in inputs["events"] if event not in state["events"]]
        removed = [event for event in state["events"] if event not in inputs["events"]]
        parts = [f"to {do}: {', '.join(them)}" for do, them in (("add", added), ("remove", removed)) if them]
        if parts:
            await context.say(f"events {'; '.join(parts)}", False)

    async def create(self, context: Context, inputs: Properties) -> tuple[str, Properties]:
        async with _api(context, inputs) as api:
            made, taken_over = await api.create(_webhook(inputs))
        if taken_over:
            await context.say(f"took over webhook {made.id} at Customer.io, which has this very URL", False)
        else:
            await _remind_of_its_key(context, inputs)
        outputs = {**inputs, "webhookId": made.id}
        return _id(outputs), outputs

    async def update(self, context: Context, state: Properties, inputs: Properties) -> Properties:
        try:
            webhook_id = await _put(context, state, inputs)
        except ResourceError as error:
            if state["endpoint"] == inputs["endpoint"]:
                raise
            raise ResourceError(
                f"{error}\nThe old URL still works, and goes on working until an `up` has moved the webhook"
            ) from None
        if state["endpoint"] != inputs["endpoint"]:
            await asyncio.sleep(inputs.get("settleSeconds") or 0)
        return {**inputs, "webhookId": webhook_id}

    async def read(self, context: Context, state: Properties) -> Properties | None:
        async with _api(context, state) as api:
            found = await api.get(state["webhookId"])
        return None if found is None else {**state, **_properties(found, state["events"])}

    async def find(self, context: Context, resource_id: str) -> Properties:
        schema, _, webhook_id = resource_id.partition("/")
        if not schema or not webhook_id.isdigit():
            raise ResourceError(
                f"a webhook's id is <schema>/<webhook id>, such as stitch_customerio/7; {resource_id!r} isn't"
            )
        account = _account(context, schema)
        async with _api(context, account) as api:
            found = await api.get(int(webhook_id))
        if found is None:
            raise ResourceError(f"Customer.io has no webhook {webhook_id} in the workspace of {schema}'s key")
        return {**account, **_properties(found, ())}

    def identity(self, found: Properties) -> str:
        return _id(found)  # one that was made again has another

    async def delete(self, context: Context, state: Properties) -> None:
        async with _api(context, state) as api:
            await api.delete(state["webhookId"])


def _id(outputs: Properties) -> str:
    return f"{outputs['schema']}/{outputs['webhookId']}"


def _api(context: Context, properties: Properties) -> CustomerIO:
    from provider.customerio import CustomerIO

    return CustomerIO(
        properties["appApiKey"],
        region=properties["region"],
        base_url=properties.get("apiUrl"),
        credential=f"sluice:credentials.{properties['schema']}.app_api_key",
        stack=context.stack,
    )


def _webhook(inputs: Properties) -> Webhook:
    from provider.customerio import Webhook

    return Webhook(
        name=inputs["name"],
        endpoint=inputs["endpoint"],
        events=tuple(inputs["events"]),
        disabled=inputs["disabled"],
        full_resolution=inputs["fullResolution"],
        with_content=inputs["withContent"],
    )


def _properties(found: Registered, known_events: Sequence[str]) -> Properties:
    """A webhook as the resource's properties. The order of its events means nothing: that of `known_events` is kept."""
    known = [event for event in known_events if event in found.events]
    return {
        "name": found.name,
        "endpoint": found.endpoint,
        "events": known + [event for event in found.events if event not in known],
        "disabled": found.disabled,
        "fullResolution": found.full_resolution,
        "withContent": found.with_content,
        "webhookId": found.id,
    }


async def _put(context: Context, state: Properties, inputs: Properties) -> int:
    """Makes the webhook as `inputs` say, or makes another one when it is gone. Returns its id."""
    webhook_id = state["webhookId"]
    # Behind another key, region or address may be another workspace, where this id is of somebody else's webhook.
    same_account = all(state.get(name) == inputs.get(name) for name in ("appApiKey", "region", "apiUrl"))
    async with _api(context, inputs) as api:
        if same_account or await _is_ours(api, state, inputs):
            updated = await api.update(webhook_id, _webhook(inputs))
            if updated is not None:
                return updated.id
        made, taken_over = await api.create(_webhook(inputs))
    if same_account:
        what = f"webhook {webhook_id} was not there any more at Customer.io: it was made again, as {made.id}"
    else:
        what = f"the workspace of the new key has the webhook {made.id} now, and {await _end(context, state)}"
    await context.say(what, True)
    if not taken_over:
        await _remind_of_its_key(context, inputs)
    return made.id


async def _is_ours(api: CustomerIO, state: Properties, inputs: Properties) -> bool:
    """Whether the id means the same webhook in this account, maybe moved already by an `up` that was killed."""
    found = await api.get(state["webhookId"])
    return found is not None and found.endpoint in (state["endpoint"], inputs["endpoint"])


async def _end(context: Context, state: Properties) -> str:
    """Deletes the webhook in the account that it was made in, and says what became of it."""
    old = f"{state['webhookId']} in that of the old one"
    try:
        async with _api(context, state) as api:
            await api.delete(state["webhookId"])
    except ResourceError as error:
        return f"{old} couldn't be deleted, so it may still be there: {error}"
    return f"{old} is deleted"


async def _remind_of_its_key(context: Context, inputs: Properties) -> None:
    if inputs.get("signed") and not inputs["disabled"]:
        await context.say(new_webhook_has_its_own_key(inputs["schema"], context.stack), True)


def _account(context: Context, schema: str) -> dict[str, Any]:
    """Which workspace an import means, from the stack's config: its properties schema, region, apiUrl and appApiKey."""
    credentials = json.loads(context.config.get("credentials") or "{}")
    key = credentials.get(schema, {}).get("app_api_key")
    if not key:
        raise ResourceError(
            f"the key of {schema}'s workspace is missing: pulumi config set --stack {context.stack} --secret "
            f"--path 'sluice:credentials.{schema}.app_api_key'"
        )
    account = {"schema": schema, "region": "us", "appApiKey": key}
    for declared in json.loads(context.config.get("integrations") or "[]"):
        if (declared.get("schema") or naming.schema_name(declared["name"])) == schema:
            account["region"] = declared.get("region", "us")
    if context.config.get("customerioApi"):
        account["apiUrl"] = context.config["customerioApi"].rstrip("/")
    return account
