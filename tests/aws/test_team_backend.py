"""A stack on AWS as a team and its workflows have it: the state in S3, the secrets under a key of KMS, and `make`."""

from tests.aws.cloud import REGION, AwsStack, registry, token_hash
from tests.aws.moto_server import MotoServer
from tests.support.making import make
from tests.support.secrecy import places_of
from tests.support.stack import CUSTOMERIO

TEAM, BUCKET = "team", "acme-pulumi-state"


def test_make_works_on_the_state_in_s3_and_reads_secrets_under_a_key_of_kms(stack: AwsStack, at: MotoServer) -> None:
    s3 = at.client("s3")
    s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})
    key = at.client("kms").create_key()["KeyMetadata"]["KeyId"]
    stack.declare(CUSTOMERIO)
    (stack.root / "Pulumi.dev.yaml").rename(stack.root / f"Pulumi.{TEAM}.yaml")
    del stack.environment["PULUMI_CONFIG_PASSPHRASE"]
    stack.environment["PULUMI_BACKEND_URL"] = f"s3://{BUCKET}?region={REGION}&s3ForcePathStyle=true"

    refused = make(stack, "up", STACK=TEAM)
    assert refused.code != 0
    assert f"{TEAM} needs one of its own in PULUMI_CONFIG_PASSPHRASE" in refused.text
    provider = f"awskms:///{key}?region={REGION}"
    stack.pulumi("stack", "init", TEAM, f"--secrets-provider={provider}", check=True)

    def made(target: str, **variables: str) -> str:
        ran = make(stack, target, STACK=TEAM, **variables)
        assert ran.code == 0, ran.text
        return ran.text

    assert "The first `up` of this stack: 1 added." in made("review", FORMAT="markdown")
    assert not registry_tables(at)
    made("up")
    url = made("url").strip()
    assert token_hash(url) in registry(at)
    assert "Nothing changes." in made("review")
    assert "live" in made("status")
    state = s3.get_object(Bucket=BUCKET, Key=f".pulumi/stacks/sluice/{TEAM}.json")["Body"].read()
    assert not places_of(url.rsplit("/", 1)[-1], {"the state": state})
    assert not (stack.root / f".sluice/.pulumi/stacks/sluice/{TEAM}.json").exists()
    assert "will drop database stitch_customerio" in made("down")
    assert not registry_tables(at)


def registry_tables(at: MotoServer) -> list[str]:
    names: list[str] = at.client("dynamodb").list_tables()["TableNames"]
    return names
