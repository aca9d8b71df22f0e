"""DynamoDB: tables, and items with the real provider's traps (`dynamodb/table_item.go`)."""

import json
from typing import ClassVar

from tests.aws.standin.resource import AutoName, Aws, Resource, TagApi, tag_list
from tests.aws.standin.tables import Properties, from_boto, has_unknown


class Table(Resource):
    token = "aws:dynamodb/table:Table"
    service, operation = "dynamodb", "CreateTable"
    arguments: ClassVar = {
        "name": "TableName",
        "attributes": ("AttributeDefinitions", [{"name*": "AttributeName", "type*": "AttributeType"}]),
        "hashKey": None,
        "rangeKey": None,
        "billingMode": "BillingMode",
        "readCapacity": "ProvisionedThroughput.ReadCapacityUnits",
        "writeCapacity": "ProvisionedThroughput.WriteCapacityUnits",
        "deletionProtectionEnabled": "DeletionProtectionEnabled",
        "pointInTimeRecovery": (None, {"enabled*": None, "recoveryPeriodInDays": None}),
        "serverSideEncryption": (None, {"enabled*": None, "kmsKeyArn": None}),
        "tableClass": "TableClass",
        "ttl": (None, {"attributeName": None, "enabled": None}),
        "tags": None,
    }
    replaces = frozenset({"name", "hashKey", "rangeKey"})
    computed = frozenset({"pointInTimeRecovery", "serverSideEncryption", "readCapacity", "writeCapacity"})
    outputs = frozenset({"arn"})
    name = AutoName()
    tag_api = TagApi("ResourceArn", read="list_tags_of_resource")

    def mistakes(self, inputs: Properties) -> list[tuple[str, str]]:
        keys, attributes = {inputs.get("hashKey"), inputs.get("rangeKey")}, inputs.get("attributes")
        declared = [str(each.get("name")) for each in attributes or [] if isinstance(each, dict)]
        unused = [] if has_unknown([*keys, attributes]) else sorted(set(declared) - keys)
        return [("attributes", f"all attributes must be indexed; unused: {', '.join(unused)}")] if unused else []

    def request(self, inputs: Properties) -> Properties:
        request = super().request(inputs)
        keys = [(inputs.get("hashKey"), "HASH"), (inputs.get("rangeKey"), "RANGE")]
        request["KeySchema"] = [{"AttributeName": key, "KeyType": kind} for key, kind in keys if key]
        return request | self._encryption(inputs)

    def _encryption(self, inputs: Properties) -> Properties:
        wanted = inputs.get("serverSideEncryption")
        if not isinstance(wanted, dict):
            return {}
        key = {"SSEType": "KMS", "KMSMasterKeyId": wanted["kmsKeyArn"]} if wanted.get("kmsKeyArn") else {}
        return {"SSESpecification": {"Enabled": wanted.get("enabled"), **key}}

    def create(self, aws: Aws, inputs: Properties) -> str:
        request = self.request(inputs)
        if tags := self.tagged(inputs):
            request["Tags"] = tag_list(tags)
        aws.client("dynamodb").create_table(**request)
        self._settings(aws, {}, inputs)
        return str(inputs["name"])

    def _settings(self, aws: Aws, old: Properties, new: Properties) -> None:
        client, name = aws.client("dynamodb"), new["name"]
        recovery, ttl = new.get("pointInTimeRecovery"), new.get("ttl")
        if recovery and recovery != old.get("pointInTimeRecovery"):
            told = {"PointInTimeRecoveryEnabled": recovery["enabled"]}
            if recovery.get("recoveryPeriodInDays"):
                told["RecoveryPeriodInDays"] = recovery["recoveryPeriodInDays"]
            client.update_continuous_backups(TableName=name, PointInTimeRecoverySpecification=told)
        if ttl != old.get("ttl") and ((ttl or {}).get("enabled") or (old.get("ttl") or {}).get("enabled")):
            attribute = (ttl or old["ttl"])["attributeName"]
            told = {"AttributeName": attribute, "Enabled": bool((ttl or {}).get("enabled"))}
            client.update_time_to_live(TableName=name, TimeToLiveSpecification=told)

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        client = aws.client("dynamodb")
        table = client.describe_table(TableName=identity)["Table"]
        backups = client.describe_continuous_backups(TableName=identity)["ContinuousBackupsDescription"]
        recovery = backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"]
        ttl = client.describe_time_to_live(TableName=identity)["TimeToLiveDescription"]
        encryption = table.get("SSEDescription") or {}
        keys = {key["KeyType"]: key["AttributeName"] for key in table["KeySchema"]}
        return {
            "deletionProtectionEnabled": False,
            **from_boto(self.arguments, table),
            "billingMode": (table.get("BillingModeSummary") or {}).get("BillingMode", "PROVISIONED"),
            "hashKey": keys["HASH"],
            "rangeKey": keys.get("RANGE"),
            "pointInTimeRecovery": {"enabled": recovery == "ENABLED"},
            "serverSideEncryption": {"enabled": encryption.get("Status") in ("ENABLED", "ENABLING")},
            "ttl": {
                "enabled": ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING"),
                **from_boto({"attributeName": "AttributeName"}, ttl),
            },
            "arn": table["TableArn"],
        }

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        told: Properties = {}
        if any(old.get(name) != new.get(name) for name in ("billingMode", "readCapacity", "writeCapacity")):
            told = {key: part for key, part in self.request(new).items() if key in ("BillingMode", THROUGHPUT)}
        if old.get("deletionProtectionEnabled") != new.get("deletionProtectionEnabled"):
            told["DeletionProtectionEnabled"] = bool(new.get("deletionProtectionEnabled"))
        if old.get("serverSideEncryption") != new.get("serverSideEncryption"):
            told |= self._encryption(new)
        if told:
            aws.client("dynamodb").update_table(TableName=identity, **told)
        self._settings(aws, old, new)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("dynamodb").delete_table(TableName=identity)


THROUGHPUT = "ProvisionedThroughput"


class TableItem(Resource):
    """A changed key is an update in place: the new item is put and the old one deleted at once."""

    token = "aws:dynamodb/tableItem:TableItem"
    service, operation = "dynamodb", "PutItem"
    arguments: ClassVar = {
        "tableName*": "TableName",
        "hashKey*": None,
        "rangeKey": None,
        "item*": ("Item", json.loads),
    }
    replaces = frozenset({"tableName", "hashKey", "rangeKey"})

    def create(self, aws: Aws, inputs: Properties) -> str:
        aws.client("dynamodb").put_item(
            **self.request(inputs),
            ConditionExpression="attribute_not_exists(#hk)",
            ExpressionAttributeNames={"#hk": inputs["hashKey"]},
        )
        return self.identity(inputs)

    def identity(self, found: Properties) -> str:
        item, parts = json.loads(found["item"]), [found["tableName"]]
        for key in (found["hashKey"], found.get("rangeKey")):
            if key in item:
                parts += [key, *(str(item[key].get(kind, "")) for kind in "BSN")]
        return "|".join(parts)

    def _key(self, state: Properties) -> Properties:
        item = json.loads(state["item"])
        return {name: item[name] for name in (state["hashKey"], state.get("rangeKey")) if name}

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties | None:
        answer = aws.client("dynamodb").get_item(
            TableName=state["tableName"], Key=self._key(state), ConsistentRead=True
        )
        if "Item" not in answer:
            return None
        there = state["item"] if answer["Item"] == json.loads(state["item"]) else json.dumps(answer["Item"])
        keys = {name: state[name] for name in ("tableName", "hashKey", "rangeKey") if state.get(name)}
        return {**keys, "item": there}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        client, key = aws.client("dynamodb"), self._key(new)
        # The real one updates attribute by attribute, to the same end; moto 5.2.5 stores a BOOL as a text that way.
        client.put_item(TableName=new["tableName"], Item=json.loads(new["item"]))
        if self._key(old) != key:
            client.delete_item(TableName=new["tableName"], Key=self._key(old))

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("dynamodb").delete_item(TableName=state["tableName"], Key=self._key(state))
