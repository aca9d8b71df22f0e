"""Customer.io's reporting webhook: a typed face of the resource that Sluice's own provider makes."""

from collections.abc import Sequence

import pulumi
from pulumi import Input, Output, ResourceOptions


class ReportingWebhook(pulumi.CustomResource):
    """Tells Customer.io which events to post to which endpoint. `api_url` None: the region's own API.

    `settle_seconds`: how long an update that moves it takes at least, so that what was under way to the old endpoint
    arrives before that goes.
    """

    def __init__(
        self,
        resource_name: str,
        *,
        schema: Input[str],
        name: Input[str],
        endpoint: Input[str],
        events: Input[Sequence[str]],
        disabled: Input[bool],
        full_resolution: Input[bool],
        with_content: Input[bool],
        region: Input[str],
        signed: Input[bool],
        app_api_key: Input[str],
        api_url: Input[str] | None = None,
        settle_seconds: Input[int] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "schema": schema,
            "name": name,
            "endpoint": Output.secret(endpoint),
            "events": events,
            "disabled": disabled,
            "fullResolution": full_resolution,
            "withContent": with_content,
            "region": region,
            "signed": signed,
            "apiUrl": api_url,
            "settleSeconds": settle_seconds,
            "appApiKey": Output.secret(app_api_key),
            "webhookId": None,
        }
        own = ResourceOptions(
            additional_secret_outputs=["endpoint", "appApiKey"],
            # `pulumi import` puts it at the top unless it is told the parent: taken up from there too. As another
            # resource it would be deleted, and with it the webhook at Customer.io.
            aliases=[pulumi.Alias(parent=pulumi.ROOT_STACK_RESOURCE)],
        )
        super().__init__("sluice:index:ReportingWebhook", resource_name, inputs, ResourceOptions.merge(opts, own))
