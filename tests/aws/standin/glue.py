"""The Glue Data Catalog: databases, tables (Iceberg ones and views) and their optimizers."""

import re
from typing import Any, ClassVar

from tests.aws.standin.resource import AutoName, Aws, Resource, TagApi
from tests.aws.standin.tables import Properties, differences, document, from_boto, to_boto

NAME = AutoName("name", 255, "_", letters=True, lower=True, guarded=False)
CAPITALS = ("name", "uppercase characters cannot be used")


class CatalogDatabase(Resource):
    token = "aws:glue/catalogDatabase:CatalogDatabase"
    service, operation = "glue", "CreateDatabase"
    arguments: ClassVar = {
        "catalogId": "CatalogId",
        "name": "DatabaseInput.Name",
        "description": "DatabaseInput.Description",
        "locationUri": "DatabaseInput.LocationUri",
        "parameters": "DatabaseInput.Parameters",
        "createTableDefaultPermissions": (
            "DatabaseInput.CreateTableDefaultPermissions",
            [
                {
                    "permissions": "Permissions",
                    "principal": ("Principal", {"dataLakePrincipalIdentifier": "DataLakePrincipalIdentifier"}),
                }
            ],
        ),
        "tags": None,
    }
    replaces = frozenset({"name", "catalogId"})
    computed = frozenset({"catalogId", "createTableDefaultPermissions", "locationUri"})
    outputs = frozenset({"arn", "catalogId"})
    name = NAME
    tag_api = TagApi("ResourceArn", read="get_tags", given="TagsToAdd", keys="TagsToRemove", as_list=False)

    def mistakes(self, inputs: Properties) -> list[tuple[str, str]]:
        return [CAPITALS] if re.search("[A-Z]", str(inputs.get("name", ""))) else []

    def create(self, aws: Aws, inputs: Properties) -> str:
        request = {"CatalogId": aws.account, **self.request(inputs), "Tags": self.tagged(inputs)}
        aws.client("glue").create_database(**request)
        return f"{request['CatalogId']}:{request['DatabaseInput']['Name']}"

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        catalog, name = identity.split(":", 1)
        answer = aws.client("glue").get_database(CatalogId=catalog, Name=name)["Database"]
        found = from_boto(self.arguments, {"DatabaseInput": answer})
        return {"description": None, **found, "catalogId": catalog, "arn": aws.arn("glue", f"database/{name}")}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        catalog, name = identity.split(":", 1)
        request = self.request(new)["DatabaseInput"]
        aws.client("glue").update_database(CatalogId=catalog, Name=name, DatabaseInput=request)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        catalog, name = identity.split(":", 1)
        aws.client("glue").delete_database(CatalogId=catalog, Name=name)


COLUMNS = [{"name*": "Name", "type": "Type", "comment": "Comment", "parameters": "Parameters"}]
STORAGE = {
    "additionalLocations": "AdditionalLocations",
    "bucketColumns": "BucketColumns",
    "columns": ("Columns", COLUMNS),
    "compressed": "Compressed",
    "inputFormat": "InputFormat",
    "location": "Location",
    "numberOfBuckets": "NumberOfBuckets",
    "outputFormat": "OutputFormat",
    "parameters": "Parameters",
    "serDeInfo": (
        "SerdeInfo",
        {"name": "Name", "parameters": "Parameters", "serializationLibrary": "SerializationLibrary"},
    ),
    "storedAsSubDirectories": "StoredAsSubDirectories",
}
ICEBERG_TABLE = {
    "location*": "Location",
    "properties": "Properties",
    "schema*": (
        "Schema",
        {
            "schemaId": "SchemaId",
            "type": "Type",
            "identifierFieldIds": "IdentifierFieldIds",
            "fields*": (
                "Fields",
                [
                    {
                        "id*": "Id",
                        "name*": "Name",
                        "type*": ("Type", document),
                        "required*": "Required",
                        "doc": "Doc",
                        "initialDefault": ("InitialDefault", document),
                        "writeDefault": ("WriteDefault", document),
                    }
                ],
            ),
        },
    ),
    "partitionSpec": (
        "PartitionSpec",
        {
            "specId": "SpecId",
            "fields*": (
                "Fields",
                [{"name*": "Name", "sourceId*": "SourceId", "transform*": "Transform", "fieldId": "FieldId"}],
            ),
        },
    ),
    "sortOrder": (
        "WriteOrder",
        {
            "orderId*": "OrderId",
            "fields*": (
                "Fields",
                [
                    {
                        "direction*": "Direction",
                        "nullOrder*": "NullOrder",
                        "sourceId*": "SourceId",
                        "transform*": "Transform",
                    }
                ],
            ),
        },
    ),
}
ICEBERG = {
    "metadataOperation*": "MetadataOperation",
    "version": "Version",
    "icebergTableInput": ("CreateIcebergTableInput", ICEBERG_TABLE),
}
MANAGED = ("table_type", "metadata_location")


class CatalogTable(Resource):
    """With an Iceberg table input only that is sent, whatever stands beside it (`glue/catalog_table.go`)."""

    token = "aws:glue/catalogTable:CatalogTable"
    service, operation = "glue", "CreateTable"
    arguments: ClassVar = {
        "catalogId": "CatalogId",
        "databaseName*": "DatabaseName",
        "name": "TableInput.Name",
        "description": "TableInput.Description",
        "owner": "TableInput.Owner",
        "parameters": "TableInput.Parameters",
        "partitionKeys": ("TableInput.PartitionKeys", COLUMNS),
        "retention": "TableInput.Retention",
        "storageDescriptor": ("TableInput.StorageDescriptor", STORAGE),
        "tableType": "TableInput.TableType",
        "viewExpandedText": "TableInput.ViewExpandedText",
        "viewOriginalText": "TableInput.ViewOriginalText",
        "openTableFormatInput": ("OpenTableFormatInput", {"icebergInput*": ("IcebergInput", ICEBERG)}),
    }
    replaces = frozenset(
        {
            "catalogId",
            "databaseName",
            "name",
            "openTableFormatInput.icebergInput.metadataOperation",
            "openTableFormatInput.icebergInput.version",
        }
    )
    computed = frozenset({"catalogId", "parameters", "storageDescriptor", "tableType"})
    outputs = frozenset({"arn", "catalogId"})
    name = NAME

    def mistakes(self, inputs: Properties) -> list[tuple[str, str]]:
        return [CAPITALS] if re.search("[A-Z]", str(inputs.get("name", ""))) else []

    def request(self, inputs: Properties) -> Properties:
        request = super().request(inputs)
        opened = request.get("OpenTableFormatInput")
        iceberg = opened.get("IcebergInput") if isinstance(opened, dict) else None
        if isinstance(iceberg, dict) and "CreateIcebergTableInput" in iceberg:
            request["Name"] = request.pop("TableInput")["Name"]
        return request

    def create(self, aws: Aws, inputs: Properties) -> str:
        request = {"CatalogId": aws.account, **self.request(inputs)}
        aws.client("glue").create_table(**request)
        return f"{request['CatalogId']}:{inputs['databaseName']}:{inputs['name']}"

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        """Not `openTableFormatInput`: the real provider can't read it back and keeps the state's."""
        catalog, database, name = identity.split(":", 2)
        table = aws.client("glue").get_table(CatalogId=catalog, DatabaseName=database, Name=name)["Table"]
        if (table.get("Parameters") or {}).get("table_type") == "ICEBERG":
            table["Parameters"] = {key: text for key, text in table["Parameters"].items() if key not in MANAGED}
        found = from_boto(self.arguments, {"TableInput": table})
        unset = dict.fromkeys(("description", "owner", "viewExpandedText", "viewOriginalText"))
        owner = {"catalogId": catalog, "databaseName": database}
        return {**unset, **found, **owner, "arn": aws.arn("glue", f"table/{database}/{name}")}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        catalog, database, name = identity.split(":", 2)
        where, request = {"CatalogId": catalog, "DatabaseName": database}, self.request(new)
        if "Name" in request and any(differences(old.get("openTableFormatInput"), new.get("openTableFormatInput"))):
            changed = request["OpenTableFormatInput"]["IcebergInput"]["CreateIcebergTableInput"]
            if "WriteOrder" in changed:
                changed["SortOrder"] = changed.pop("WriteOrder")
            iceberg = {"UpdateIcebergInput": {"UpdateIcebergTableInput": {"Updates": [changed]}}}
            aws.client("glue").update_table(**where, Name=name, UpdateOpenTableFormatInput=iceberg)
            return
        told = to_boto({key: entry for key, entry in self.arguments.items() if key != "openTableFormatInput"}, new)
        there = aws.client("glue").get_table(**where, Name=name)["Table"].get("Parameters") or {}
        if there.get("table_type") == "ICEBERG":
            kept = {key: there[key] for key in MANAGED if key in there}
            told["TableInput"].setdefault("Parameters", {}).update(kept)
        aws.client("glue").update_table(**where, TableInput=told["TableInput"])

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        catalog, database, name = identity.split(":", 2)
        aws.client("glue").delete_table(CatalogId=catalog, DatabaseName=database, Name=name)


def _kind(name: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: (name, {"icebergConfiguration": ("icebergConfiguration", fields)})}


class CatalogTableOptimizer(Resource):
    token = "aws:glue/catalogTableOptimizer:CatalogTableOptimizer"
    service, operation = "glue", "CreateTableOptimizer"
    arguments: ClassVar = {
        "catalogId*": "CatalogId",
        "databaseName*": "DatabaseName",
        "tableName*": "TableName",
        "type*": "Type",
        "configuration*": (
            "TableOptimizerConfiguration",
            {
                "enabled*": "enabled",
                "roleArn*": "roleArn",
                **_kind(
                    "compactionConfiguration",
                    {
                        "strategy": "strategy",
                        "minInputFiles": "minInputFiles",
                        "deleteFileThreshold": "deleteFileThreshold",
                    },
                ),
                **_kind(
                    "retentionConfiguration",
                    {
                        "snapshotRetentionPeriodInDays": "snapshotRetentionPeriodInDays",
                        "numberOfSnapshotsToRetain": "numberOfSnapshotsToRetain",
                        "cleanExpiredFiles": "cleanExpiredFiles",
                        "runRateInHours": "runRateInHours",
                    },
                ),
                **_kind(
                    "orphanFileDeletionConfiguration",
                    {
                        "orphanFileRetentionPeriodInDays": "orphanFileRetentionPeriodInDays",
                        "location": "location",
                        "runRateInHours": "runRateInHours",
                    },
                ),
            },
        ),
    }
    replaces = frozenset({"catalogId", "databaseName", "tableName", "type"})

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("glue").create_table_optimizer(**self.request(inputs))
        return ",".join(str(inputs[name]) for name in ("catalogId", "databaseName", "tableName", "type"))

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        who = self._who(identity)
        answer = aws.client("glue").get_table_optimizer(**who)["TableOptimizer"]
        return from_boto(self.arguments, {**who, "TableOptimizerConfiguration": answer["configuration"]})

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        aws.client("glue").update_table_optimizer(**self.request(new))

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("glue").delete_table_optimizer(**self._who(identity))

    def _who(self, identity: str) -> dict[str, str]:
        return dict(zip(("CatalogId", "DatabaseName", "TableName", "Type"), identity.split(","), strict=True))
