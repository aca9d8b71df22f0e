"""The AWS platform: a stack has one function, registry and bucket; an integration a Glue database and a stream."""

import json
from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.aws import dashboard, names
from components.aws.account import Account, tags
from components.aws.alarms import Alarms
from components.aws.function import ReceiverFunction
from components.aws.lake import Lake
from components.aws.resources import Sender
from components.aws.schema import GlueSchema
from components.identity import StackIdentity
from components.platform import Endpoint
from components.settings import IntegrationSettings, Settings
from components.token import Token


class AwsPlatform:
    """A `Platform` of managed parts, declared with pulumi-aws."""

    settle_seconds = 10
    """A delivery under way to the old URL may meet an instance of the function that hasn't looked that one up lately;
    it is refused if the URL's item is gone by then."""

    url: Output[str]

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._identity = StackIdentity(keeps_here=False).identity
        self._stack_id = names.stack_id(pulumi.get_project(), pulumi.get_stack())
        self._account = Account()
        self._lake = Lake(settings)
        self._function = ReceiverFunction(settings, self._account, self._lake, self._stack_id)
        self._alarms = Alarms(settings)
        self._alarms.of_function(self._function.name, parent=self._function)
        self._delivery_log = aws.cloudwatch.LogGroup(
            "sluice-delivery", retention_in_days=settings.log_retention_days, tags=tags()
        )
        self._schemas: dict[str, GlueSchema] = {}
        self._parameters: dict[str, aws.ssm.Parameter] = {}
        self.url = Output.from_input(settings.public_url) if settings.public_url else self._function.url
        self._dashboard()

    def _dashboard(self) -> None:
        streams = {
            integration.schema_name: names.stream(self._stack_id, integration.schema_name)
            for integration in self._settings.integrations
        }
        aws.cloudwatch.Dashboard(
            "sluice",
            # A second dashboard of one name would take the first one's place without a word; the function's is unique.
            dashboard_name=self._function.name,
            dashboard_body=Output.all(
                region=self._account.region, function=self._function.name, log_group=self._function.log_group
            ).apply(lambda made: dashboard.body(streams=streams, **made)),
        )

    @property
    def warehouse(self) -> Mapping[str, Any]:
        """Where the rows are: the Glue database of each schema, the bucket, and the workgroup to query them in."""
        return {
            "databases": {schema: made.database for schema, made in self._schemas.items()},
            "bucket": self._lake.bucket.bucket,
            "workgroup": self._lake.workgroup,
            "region": self._account.region,
        }

    def schema(self, integration: IntegrationSettings, *, parent: pulumi.Resource) -> pulumi.Resource:
        made = GlueSchema(
            integration,
            self._settings,
            self._account,
            self._lake,
            self._alarms,
            stack_id=self._stack_id,
            identity=self._identity,
            delivery_log=self._delivery_log.name,
            opts=ResourceOptions(parent=parent),
        )
        self._schemas[integration.schema_name] = made
        return made

    def endpoint(
        self,
        integration: IntegrationSettings,
        slot: str,
        token: Token,
        *,
        schema: pulumi.Resource,
        parent: pulumi.Resource,
    ) -> Endpoint:
        item: dict[str, Any] = {
            "hash": {"S": token.hash},
            "schema": {"S": integration.schema_name},
            "slot": {"S": slot},
            "source": {"S": integration.source},
            "signed": {"BOOL": integration.signed},
            "stream": {"S": self._schemas[integration.schema_name].stream},
        }
        has_keys = bool(self._settings.signing_keys(integration))
        if has_keys:
            item["signing_keys"] = {"S": self._signing_keys(integration, parent)}
        sender = Sender(
            f"{integration.schema_name}-sender-{slot}",
            schema=integration.schema_name,
            slot=slot,
            token_hash=token.hash,
            active=slot == integration.active,
            connected=integration.connect,
            signed=integration.signed,
            has_signing_keys=has_keys,
            opts=ResourceOptions(parent=parent),
        )
        made = aws.dynamodb.TableItem(
            f"{integration.schema_name}-endpoint-{slot}",
            table_name=self._function.registry,
            hash_key="hash",
            item=Output.json_dumps(item),
            opts=ResourceOptions(
                parent=parent,
                depends_on=[schema, sender, *self._function.open],
                replacement_trigger=self.replacement_trigger(token),
            ),
        )
        return Endpoint(Output.concat(self.url, "/v1/", integration.schema_name, "/", token.printed), made)

    def replacement_trigger(self, token: Token) -> Output[str]:
        """What an endpoint's item is replaced for, instead of being changed.

        By itself the provider changes the key in place, and the old URL is dead before the sender has moved. A secret
        trigger would be ignored without a word.
        """
        return Output.unsecret(token.hash)

    def _signing_keys(self, integration: IntegrationSettings, parent: pulumi.Resource) -> Output[str]:
        """The name of the parameter that holds an integration's signing keys, for both of its slots."""
        schema = integration.schema_name
        if schema not in self._parameters:
            keys = [key.get_secret_value() for key in self._settings.signing_keys(integration)]
            self._parameters[schema] = aws.ssm.Parameter(
                f"{schema}-signing-keys",
                name=names.signing_keys(self._stack_id, schema),
                type="SecureString",
                value=Output.secret(json.dumps(keys)),
                tags=tags(schema=schema, identity=self._identity),
                opts=ResourceOptions(parent=parent),
            )
        return self._parameters[schema].name
