"""S3: the bucket, and the parts of it that are resources of their own."""

import secrets
import time
from typing import Any, ClassVar

from botocore.exceptions import ClientError

from provider.resource import ResourceError
from tests.aws.standin.resource import AutoName, Aws, Resource, is_absent, tag_list
from tests.aws.standin.tables import Properties, from_boto


class Bucket(Resource):
    token = "aws:s3/bucket:Bucket"
    service, operation = "s3", "CreateBucket"
    arguments: ClassVar = {
        "bucket": "Bucket",
        "bucketPrefix": None,
        "forceDestroy": None,
        "objectLockEnabled": "ObjectLockEnabledForBucket",
        "tags": None,
    }
    replaces = frozenset({"bucket", "bucketPrefix", "objectLockEnabled"})
    computed = frozenset({"bucket"})
    outputs = frozenset({"arn", "bucketDomainName", "bucketRegionalDomainName"})
    name = AutoName("bucket", 63, lower=True, unless="bucketPrefix")

    def create(self, aws: Aws, inputs: Properties) -> str:
        client, request = aws.client("s3"), self.request(inputs)
        name = request.setdefault("Bucket", f"{inputs.get('bucketPrefix')}{int(time.time())}{secrets.token_hex(4)}")
        if aws.region == "us-east-1":  # where S3 itself doesn't say that one's own bucket is there already
            try:
                client.head_bucket(Bucket=name)
            except ClientError:
                pass
            else:
                raise ResourceError(f"creating S3 Bucket ({name}): BucketAlreadyExists")
        else:
            request["CreateBucketConfiguration"] = {"LocationConstraint": aws.region}
        client.create_bucket(**request)
        if tags := self.tagged(inputs):
            client.put_bucket_tagging(Bucket=name, Tagging={"TagSet": tag_list(tags)})
        return str(name)

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        aws.client("s3").head_bucket(Bucket=identity)
        return {
            "bucket": identity,
            "arn": f"arn:{aws.partition}:s3:::{identity}",
            "bucketDomainName": f"{identity}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{identity}.s3.{aws.region}.amazonaws.com",
        }

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        """Only tags, which the provider sees to, and `forceDestroy`, which is nothing of S3's."""

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        client = aws.client("s3")
        if state.get("forceDestroy"):
            for page in client.get_paginator("list_object_versions").paginate(Bucket=identity):
                for item in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
                    client.delete_object(Bucket=identity, Key=item["Key"], VersionId=item["VersionId"])
        client.delete_bucket(Bucket=identity)

    tag_api = None

    def tag_owner(self, identity: str, state: Properties) -> str:
        return identity

    def read_tags(self, aws: Aws, owner: str) -> dict[str, str]:
        try:
            return {tag["Key"]: tag["Value"] for tag in aws.client("s3").get_bucket_tagging(Bucket=owner)["TagSet"]}
        except ClientError as error:
            if is_absent(error):
                return {}
            raise

    def write_tags(self, aws: Aws, owner: str, old: Any, new: Any) -> None:
        if new:
            aws.client("s3").put_bucket_tagging(Bucket=owner, Tagging={"TagSet": tag_list(new)})
        else:
            aws.client("s3").delete_bucket_tagging(Bucket=owner)


class BucketPart(Resource):
    """One `put`, one `get`, one `delete`, all by the bucket's name, which is the id."""

    service = "s3"
    replaces = frozenset({"bucket"})
    put: ClassVar[str]
    get: ClassVar[str]
    remove: ClassVar[str]
    answered: ClassVar[str] = ""
    """Under what the answer has to be put to look like the request."""

    def create(self, aws: Aws, inputs: Properties) -> str:
        getattr(aws.client("s3"), self.put)(**self.request(inputs))
        return str(inputs["bucket"])

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        answer = getattr(aws.client("s3"), self.get)(Bucket=identity)
        known = {self.answered: answer} if self.answered else answer
        return {"bucket": identity, **from_boto(self.arguments, known)}

    def update(self, aws: Aws, identity: str, old: Properties, new: Properties) -> None:
        self.create(aws, new)

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        getattr(aws.client("s3"), self.remove)(Bucket=identity)


_BLOCK = "PublicAccessBlockConfiguration"


class BucketPublicAccessBlock(BucketPart):
    token = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
    operation = "PutPublicAccessBlock"
    put, get, remove = "put_public_access_block", "get_public_access_block", "delete_public_access_block"
    arguments: ClassVar = {
        "bucket*": "Bucket",
        "blockPublicAcls": f"{_BLOCK}.BlockPublicAcls",
        "blockPublicPolicy": f"{_BLOCK}.BlockPublicPolicy",
        "ignorePublicAcls": f"{_BLOCK}.IgnorePublicAcls",
        "restrictPublicBuckets": f"{_BLOCK}.RestrictPublicBuckets",
    }

    def request(self, inputs: Properties) -> Properties:
        request = super().request(inputs)
        request.setdefault(_BLOCK, {})
        return request


class BucketVersioning(BucketPart):
    token = "aws:s3/bucketVersioning:BucketVersioning"
    operation = "PutBucketVersioning"
    put, get, remove = "put_bucket_versioning", "get_bucket_versioning", ""
    answered = "VersioningConfiguration"
    arguments: ClassVar = {
        "bucket*": "Bucket",
        "versioningConfiguration*": ("VersioningConfiguration", {"status*": "Status", "mfaDelete": "MFADelete"}),
    }

    def read(self, aws: Aws, identity: str, state: Properties) -> Properties:
        return {"versioningConfiguration": {"status": "Disabled"}, **super().read(aws, identity, state)}

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("s3").put_bucket_versioning(Bucket=identity, VersioningConfiguration={"Status": "Suspended"})


class BucketServerSideEncryptionConfiguration(BucketPart):
    token = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    operation = "PutBucketEncryption"
    put, get, remove = "put_bucket_encryption", "get_bucket_encryption", "delete_bucket_encryption"
    arguments: ClassVar = {
        "bucket*": "Bucket",
        "rules*": (
            "ServerSideEncryptionConfiguration.Rules",
            [
                {
                    "applyServerSideEncryptionByDefault": (
                        "ApplyServerSideEncryptionByDefault",
                        {"sseAlgorithm*": "SSEAlgorithm", "kmsMasterKeyId": "KMSMasterKeyID"},
                    ),
                    "bucketKeyEnabled": "BucketKeyEnabled",
                }
            ],
        ),
    }


class BucketPolicy(BucketPart):
    token = "aws:s3/bucketPolicy:BucketPolicy"
    operation = "PutBucketPolicy"
    put, get, remove = "put_bucket_policy", "get_bucket_policy", "delete_bucket_policy"
    arguments: ClassVar = {"bucket*": "Bucket", "policy*": "Policy"}
    documents = frozenset({"policy"})


class BucketOwnershipControls(BucketPart):
    token = "aws:s3/bucketOwnershipControls:BucketOwnershipControls"
    operation = "PutBucketOwnershipControls"
    put, get, remove = "put_bucket_ownership_controls", "get_bucket_ownership_controls", ""
    arguments: ClassVar = {
        "bucket*": "Bucket",
        "rule*": ("OwnershipControls.Rules.0", {"objectOwnership*": "ObjectOwnership"}),
    }

    def delete(self, aws: Aws, identity: str, state: Properties) -> None:
        aws.client("s3").delete_bucket_ownership_controls(Bucket=identity)


_SIZES = {"objectSizeGreaterThan": "ObjectSizeGreaterThan", "objectSizeLessThan": "ObjectSizeLessThan"}


class BucketLifecycleConfiguration(BucketPart):
    token = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration"
    operation = "PutBucketLifecycleConfiguration"
    put, get = "put_bucket_lifecycle_configuration", "get_bucket_lifecycle_configuration"
    remove, answered = "delete_bucket_lifecycle", "LifecycleConfiguration"
    arguments: ClassVar = {
        "bucket*": "Bucket",
        "rules*": (
            "LifecycleConfiguration.Rules",
            [
                {
                    "id*": "ID",
                    "status*": "Status",
                    "prefix": "Prefix",
                    "filter": (
                        "Filter",
                        {"prefix": "Prefix", "tag": ("Tag", {"key*": "Key", "value*": "Value"}), **_SIZES},
                    ),
                    "expiration": (
                        "Expiration",
                        {"days": "Days", "date": "Date", "expiredObjectDeleteMarker": "ExpiredObjectDeleteMarker"},
                    ),
                    "noncurrentVersionExpiration": (
                        "NoncurrentVersionExpiration",
                        {"noncurrentDays*": "NoncurrentDays", "newerNoncurrentVersions": "NewerNoncurrentVersions"},
                    ),
                    "abortIncompleteMultipartUpload": (
                        "AbortIncompleteMultipartUpload",
                        {"daysAfterInitiation": "DaysAfterInitiation"},
                    ),
                    "transitions": ("Transitions", [{"days": "Days", "date": "Date", "storageClass*": "StorageClass"}]),
                }
            ],
        ),
    }

    def request(self, inputs: Properties) -> Properties:
        request = super().request(inputs)
        rules = request.get("LifecycleConfiguration", {}).get("Rules")
        for rule in rules if isinstance(rules, list) else []:
            if isinstance(rule, dict) and not rule.get("Filter") and "Prefix" not in rule:
                rule["Filter"] = {"Prefix": ""}
        return request
