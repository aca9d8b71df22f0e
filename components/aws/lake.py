"""The bucket that holds a stack's tables: private, encrypted, versioned, TLS only, and kept when it isn't declared any
more, unless the stack says otherwise.
"""

from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.aws import names, policies
from components.aws.account import tags
from components.settings import Settings

NONCURRENT_DAYS = 7  # every commit and every compaction replaces files: kept for longer, they outweigh the events
QUERY_RESULT_DAYS = 30


class Lake(pulumi.ComponentResource):
    """One bucket per stack, and the Athena workgroup whose results go there."""

    bucket: aws.s3.Bucket
    workgroup: Output[str]

    def __init__(self, settings: Settings, opts: ResourceOptions | None = None) -> None:
        super().__init__("sluice:index:Lake", "sluice-lake", None, opts)
        # What makes the bucket private stays with it: without these, a bucket that is kept would stand open.
        kept = ResourceOptions(parent=self, retain_on_delete=not settings.destroy_data)
        self.bucket = aws.s3.Bucket(
            "sluice-lake",
            force_destroy=settings.destroy_data,
            tags=tags(),
            opts=ResourceOptions.merge(kept, ResourceOptions(protect=settings.protect)),
        )
        name = self.bucket.bucket
        private = aws.s3.BucketPublicAccessBlock(
            "sluice-lake",
            bucket=name,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=kept,
        )
        aws.s3.BucketOwnershipControls(
            "sluice-lake", bucket=name, rule={"object_ownership": "BucketOwnerEnforced"}, opts=kept
        )
        versioning = aws.s3.BucketVersioning(
            "sluice-lake", bucket=name, versioning_configuration={"status": "Enabled"}, opts=kept
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            "sluice-lake",
            bucket=name,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=(
                        aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(
                            sse_algorithm="AES256"
                        )
                    ),
                )
            ],
            opts=kept,
        )
        aws.s3.BucketLifecycleConfiguration(
            "sluice-lake",
            bucket=name,
            rules=[
                _rule(
                    "noncurrent",
                    # A delete in a versioned bucket leaves a marker, and Iceberg deletes all the time.
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(expired_object_delete_marker=True),
                    noncurrent_version_expiration=(
                        aws.s3.BucketLifecycleConfigurationRuleNoncurrentVersionExpirationArgs(
                            noncurrent_days=NONCURRENT_DAYS
                        )
                    ),
                    abort_incomplete_multipart_upload=(
                        aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
                            days_after_initiation=7
                        )
                    ),
                ),
                # Of everything else nothing expires, what couldn't be delivered least of all: it is data.
                _rule(
                    "query-results",
                    prefix=names.QUERY_RESULTS,
                    expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=QUERY_RESULT_DAYS),
                ),
            ],
            opts=ResourceOptions.merge(kept, ResourceOptions(depends_on=[versioning])),
        )
        aws.s3.BucketPolicy(
            "sluice-lake",
            bucket=name,
            policy=Output.json_dumps(policies.tls_only(self.bucket.arn)),
            # S3 takes one change of a bucket's access at a time.
            opts=ResourceOptions.merge(kept, ResourceOptions(depends_on=[private])),
        )
        self.workgroup = aws.athena.Workgroup(
            "sluice-queries",
            description="Queries over the schemas of this stack",
            force_destroy=True,  # of its history, which is all that it holds
            configuration=aws.athena.WorkgroupConfigurationArgs(
                enforce_workgroup_configuration=True,
                result_configuration=aws.athena.WorkgroupConfigurationResultConfigurationArgs(
                    output_location=Output.concat("s3://", name, "/", names.QUERY_RESULTS),
                    encryption_configuration=(
                        aws.athena.WorkgroupConfigurationResultConfigurationEncryptionConfigurationArgs(
                            encryption_option="SSE_S3"
                        )
                    ),
                ),
            ),
            tags=tags(),
            opts=ResourceOptions(parent=self),
        ).name
        self.register_outputs({"bucket": name})


def _rule(name: str, *, prefix: str = "", **rule: Any) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id=name,
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=prefix),
        **rule,
    )
