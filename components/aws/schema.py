"""An integration's schema on AWS: a Glue database with its Iceberg tables and views, and the stream that fills them."""

import json
from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.aws import names, policies, tables, views
from components.aws.account import Account, tags
from components.aws.alarms import Alarms
from components.aws.lake import Lake
from components.aws.resources import StreamDrain
from components.aws.roles import JobRole
from components.aws.tables import IcebergTable
from components.settings import IntegrationSettings, Settings

BUFFER_S = 60  # the shortest that Firehose is known to take for Iceberg: how far the tables are behind
BUFFER_MB = 64
RETRY_S = 60  # then a batch goes to the error prefix, and an alarm with it
SNAPSHOT_DAYS = 1  # of a table's history: each delivery is a snapshot, and each writes the list of them all


class GlueSchema(pulumi.ComponentResource):
    """Everything that holds one integration's events. Database and tables stay when it isn't declared any more.

    Two streams must never write one table (Iceberg commits optimistically), so there is one stream for both tables.
    """

    database: str
    stream: Output[str]

    def __init__(
        self,
        integration: IntegrationSettings,
        settings: Settings,
        account: Account,
        lake: Lake,
        alarms: Alarms,
        *,
        stack_id: str,
        identity: Output[str],
        delivery_log: Output[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        self._schema = integration.schema_name
        super().__init__("sluice:index:GlueSchema", f"{self._schema}-schema", None, opts)
        self._integration = integration
        self._settings = settings
        self._account = account
        self._lake = lake
        self._tags = tags(schema=self._schema)
        # What another stack of the same name could take for its own.
        self._own_tags = tags(schema=self._schema, identity=identity)
        self.database = settings.schema_prefix + self._schema

        database = aws.glue.CatalogDatabase(
            f"{self._schema}-database",
            name=self.database,
            description=f"Events of {integration.name}, kept by Sluice",
            tags=self._own_tags,
            opts=self._kept(),
        )
        made = {name: self._table(name, table, database) for name, table in tables.TABLES.items()}
        self._views(list(made.values()))
        self._optimizers(made["data"])
        stream = self._stream(list(made.values()), names.stream(stack_id, self._schema), delivery_log)
        alarms.of_stream(self._schema, stream.name, max_silence_hours=integration.max_silence_hours, parent=self)
        StreamDrain(
            f"{self._schema}-drain",
            stream=stream.name,
            seconds=settings.stream_drain,
            opts=ResourceOptions(parent=self, depends_on=[stream]),
        )
        self.stream = stream.name
        if settings.redshift is not None:
            self._redshift(database)
        self.register_outputs({"database": self.database})

    def _kept(self, *name: str, unread: str | None = None) -> ResourceOptions:
        """The options of what holds data. With `adopt`, the one of that name which is there already is taken up.

        `unread`: an argument that AWS doesn't give back, so that what is taken up can't be compared with it.
        """
        adopt = self._integration.adopt
        return ResourceOptions(
            parent=self,
            protect=self._settings.protect,
            retain_on_delete=adopt or not self._settings.destroy_data,
            import_=":".join((aws.get_caller_identity().account_id, self.database, *name)) if adopt else None,
            ignore_changes=[unread] if adopt and unread else None,
        )

    def _table(self, name: str, table: IcebergTable, database: aws.glue.CatalogDatabase) -> aws.glue.CatalogTable:
        # With an iceberg_table_input the provider sends nothing else: what is said beside it would be lost, or drift.
        schema = aws.glue.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputSchemaArgs(
            schema_id=0,
            type="struct",
            fields=[
                aws.glue.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputSchemaFieldArgs(
                    id=field.id,
                    name=field.name,
                    type=json.dumps(field.type),  # a JSON document: a type may also be a struct
                    required=field.required,
                )
                for field in table.fields
            ],
        )
        partition = aws.glue.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputPartitionSpecArgs(
            spec_id=0,
            fields=[
                aws.glue.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputPartitionSpecFieldArgs(
                    name=table.partition.name,
                    source_id=table.partition.source_id,
                    transform=table.partition.transform,
                    field_id=table.partition.field_id,
                )
            ],
        )
        return aws.glue.CatalogTable(
            f"{self._schema}-table-{table.folder}",
            name=name,
            database_name=database.name,
            open_table_format_input=aws.glue.CatalogTableOpenTableFormatInputArgs(
                iceberg_input=aws.glue.CatalogTableOpenTableFormatInputIcebergInputArgs(
                    metadata_operation="CREATE",
                    version="2",  # Firehose takes no other
                    iceberg_table_input=aws.glue.CatalogTableOpenTableFormatInputIcebergInputIcebergTableInputArgs(
                        location=self._location(table.folder),
                        schema=schema,
                        partition_spec=partition,
                        properties=table.properties,
                    ),
                )
            ),
            opts=self._kept(name, unread="openTableFormatInput"),
        )

    def _location(self, folder: str) -> Output[str]:
        return Output.concat("s3://", self._lake.bucket.bucket, "/", names.tables(self.database), folder)

    def _views(self, made: list[aws.glue.CatalogTable]) -> None:
        for name, view in views.views(self._integration.source, self.database).items():
            aws.glue.CatalogTable(
                f"{self._schema}-view-{name}",
                name=name,
                database_name=self.database,
                table_type="VIRTUAL_VIEW",
                parameters=view.parameters,
                view_original_text=view.original_text,
                view_expanded_text=view.expanded_text,
                storage_descriptor=aws.glue.CatalogTableStorageDescriptorArgs(
                    columns=[
                        aws.glue.CatalogTableStorageDescriptorColumnArgs(name=column.name, type=column.hive)
                        for column in view.columns
                    ],
                    # Athena refuses a table of the catalog that has none, and Terraform sends no empty one.
                    ser_de_info=aws.glue.CatalogTableStorageDescriptorSerDeInfoArgs(
                        name="-", serialization_library="-"
                    ),
                ),
                opts=ResourceOptions(parent=self, depends_on=made),
            )

    def _optimizers(self, data: aws.glue.CatalogTable) -> None:
        """Every delivery is a file and a snapshot: they are merged, and forgotten after some days."""
        role = JobRole(
            f"{self._schema}-tables",
            trust=policies.trust("glue"),
            may=policies.optimizer(
                bucket_arn=self._lake.bucket.arn,
                folders=[names.tables(self.database)],
                glue_arns=self._glue_arns(),
                log_arn=self._account.arn("logs", "log-group:/aws-glue/iceberg-*"),
            ),
            tags=self._tags,
            parent=self,
        )
        iceberg = aws.glue.CatalogTableOptimizerConfigurationRetentionConfigurationIcebergConfigurationArgs(
            snapshot_retention_period_in_days=SNAPSHOT_DAYS,
            number_of_snapshots_to_retain=1,
            clean_expired_files=True,
        )
        retention = aws.glue.CatalogTableOptimizerConfigurationRetentionConfigurationArgs(iceberg_configuration=iceberg)
        # Glue gives these back also where they weren't given: left out, they would be drift.
        merging = aws.glue.CatalogTableOptimizerConfigurationCompactionConfigurationIcebergConfigurationArgs(
            strategy="binpack", min_input_files=100, delete_file_threshold=1
        )
        compaction = aws.glue.CatalogTableOptimizerConfigurationCompactionConfigurationArgs(
            iceberg_configuration=merging
        )
        for type_, configuration in (
            ("compaction", {"compaction_configuration": compaction}),
            ("retention", {"retention_configuration": retention}),
        ):
            aws.glue.CatalogTableOptimizer(
                f"{self._schema}-{type_}",
                catalog_id=self._account.id,
                database_name=self.database,
                table_name=data.name,
                type=type_,
                configuration=aws.glue.CatalogTableOptimizerConfigurationArgs(
                    enabled=True, role_arn=role.arn, **configuration
                ),
                opts=ResourceOptions(parent=self, depends_on=[role.policy]),
            )

    def _stream(
        self, made: list[aws.glue.CatalogTable], name: str, delivery_log: Output[str]
    ) -> aws.kinesis.FirehoseDeliveryStream:
        log_stream = aws.cloudwatch.LogStream(
            f"{self._schema}-stream",
            name=self._schema,
            log_group_name=delivery_log,
            opts=ResourceOptions(parent=self),
        )
        role = JobRole(
            f"{self._schema}-stream",
            trust=policies.trust("firehose", external_id=self._account.id),
            may=policies.stream(
                bucket_arn=self._lake.bucket.arn,
                folders=[names.tables(self.database), names.errors(self._schema)],
                glue_arns=self._glue_arns(),
                log_stream_arn=self._account.arn("logs", "log-group:", delivery_log, ":log-stream:", self._schema),
            ),
            tags=self._tags,
            parent=self,
        )
        errors = names.errors(self._schema)
        logging: dict[str, Any] = {"enabled": True, "log_group_name": delivery_log, "log_stream_name": log_stream.name}
        return aws.kinesis.FirehoseDeliveryStream(
            f"{self._schema}-stream",
            name=name,
            destination="iceberg",
            iceberg_configuration=aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationArgs(
                catalog_arn=self._account.arn("glue", "catalog"),
                role_arn=role.arn,
                append_only=True,  # else a direct PUT stream stops at 1 to 5 MiB/s; it can't be changed later
                buffering_interval=BUFFER_S,
                buffering_size=BUFFER_MB,
                retry_duration=RETRY_S,
                s3_backup_mode="FailedDataOnly",
                cloudwatch_logging_options=(
                    aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationCloudwatchLoggingOptionsArgs(**logging)
                ),
                destination_table_configurations=[
                    aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationDestinationTableConfigurationArgs(
                        database_name=self.database, table_name=table.name, s3_error_output_prefix=errors
                    )
                    for table in made
                ],
                processing_configuration=aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationProcessingConfigurationArgs(
                    enabled=True, processors=[_routing(tables.routing(self.database))]
                ),
                s3_configuration=aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationS3ConfigurationArgs(
                    bucket_arn=self._lake.bucket.arn,
                    role_arn=role.arn,
                    error_output_prefix=errors,
                    compression_format="GZIP",
                    cloudwatch_logging_options=(
                        aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationS3ConfigurationCloudwatchLoggingOptionsArgs(
                            **logging
                        )
                    ),
                ),
            ),
            server_side_encryption=aws.kinesis.FirehoseDeliveryStreamServerSideEncryptionArgs(
                enabled=True, key_type="AWS_OWNED_CMK"
            ),
            tags=self._own_tags,
            opts=ResourceOptions(parent=self, depends_on=[role.policy, *made]),
        )

    def _glue_arns(self) -> list[Output[str]]:
        return [
            self._account.arn("glue", "catalog"),
            self._account.arn("glue", "database/", self.database),
            self._account.arn("glue", "table/", self.database, "/*"),
        ]

    def _redshift(self, database: aws.glue.CatalogDatabase) -> None:
        """Shows the schema in Redshift too, by a statement that may run again (it does after a refresh, once AWS has
        forgotten the first run). Nothing takes it back: dropping it is one `DROP SCHEMA` there, and touches no row."""
        redshift = self._settings.redshift
        assert redshift is not None  # noqa: S101 (for the type checker)
        aws.redshiftdata.Statement(
            f"{self._schema}-redshift",
            workgroup_name=redshift.workgroup,
            database=redshift.database,
            sql=(
                f'CREATE EXTERNAL SCHEMA IF NOT EXISTS "{self.database}" '
                f"FROM DATA CATALOG DATABASE '{self.database}' IAM_ROLE '{redshift.iam_role}'"
            ),
            opts=ResourceOptions(parent=self, depends_on=[database]),
        )


def _routing(
    query: str,
) -> aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationProcessingConfigurationProcessorArgs:
    parameters = {"JsonParsingEngine": "JQ-1.6", "MetadataExtractionQuery": query}
    return aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationProcessingConfigurationProcessorArgs(
        type="MetadataExtraction",
        parameters=[
            aws.kinesis.FirehoseDeliveryStreamIcebergConfigurationProcessingConfigurationProcessorParameterArgs(
                parameter_name=name, parameter_value=value
            )
            for name, value in parameters.items()
        ],
    )
