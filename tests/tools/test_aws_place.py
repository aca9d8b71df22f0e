"""What `make` finds out on AWS before the engine starts, on moto's server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.aws.moto_server import MotoServer
from tools.aws import BUCKET, Aws
from tools.stack import Stack, StackError

ADOPTING = {"name": "Stitch Customer.io", "source": "customerio", "tokens": {"primary": 1}, "adopt": True}


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with MotoServer(tmp_path_factory.mktemp("moto"), "eu-west-1") as server:
        glue = server.client("glue")
        glue.create_database(DatabaseInput={"Name": "stitch_customerio"})
        place = {"Location": "s3://kept-bucket/tables/stitch_customerio/data"}
        glue.create_table(DatabaseName="stitch_customerio", TableInput={"Name": "data", "StorageDescriptor": place})
        yield server


@pytest.fixture
def place(at: MotoServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    for name, value in at.environment.items():
        monkeypatch.setenv(name, value)

    def made(*resources: dict[str, Any], **config: Any) -> Aws:
        (tmp_path / "Pulumi.prod.yaml").write_text(yaml.safe_dump({"config": {"aws:region": "eu-west-1", **config}}))
        stack = Stack(tmp_path, "prod", {})
        monkeypatch.setattr(stack, "resources", lambda: [*resources])
        return Aws(stack)

    return made


def bucket(name: str) -> dict[str, Any]:
    return {"type": BUCKET, "outputs": {"bucket": name}}


def test_tables_in_another_bucket_are_not_taken_up(place: Any) -> None:
    adopting = {"sluice:integrations": [ADOPTING]}
    for resources in ([], [bucket("another")]):
        with pytest.raises(StackError, match="in the bucket kept-bucket, which isn't this stack's"):
            place(*resources, **adopting).check()
    place(bucket("kept-bucket"), **adopting).check()
    place(**{"sluice:integrations": [{**ADOPTING, "adopt": False}]}).check()
    place(**{"sluice:integrations": [ADOPTING], "sluice:schemaPrefix": "p_"}).check()


@pytest.mark.parametrize("integrations", [5, "all", [7], [{**ADOPTING, "name": "42"}], None])
def test_what_is_wrong_with_the_config_is_for_the_program_to_say(place: Any, integrations: Any) -> None:
    place(**{"sluice:integrations": integrations}).check()


def test_a_profile_that_there_is_not_and_a_region_that_is_hidden_are_named(place: Any) -> None:
    with pytest.raises(StackError, match=r"AWS: .*nobody"):
        place(**{"aws:profile": "nobody"}).check()
    with pytest.raises(StackError, match="aws:region must be plain text"):
        place(**{"aws:region": {"secure": "v1:abc"}}).check()
    assert place(**{"aws:profile": "nobody"}).stop_all() == []


def test_a_service_that_does_not_answer_is_one_sentence(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StackError, match="AWS: Could not connect"):
        place().check()
