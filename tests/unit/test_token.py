"""A token slot's secret. Proof limit: that it is encrypted in the state is shown by the engine tests."""

import pulumi
import pulumi.runtime
from pulumi import Output

from components.token import Token
from receiver.token import digest, fingerprint, printed
from tests.unit.recording import Engine, install


class Owner(pulumi.ComponentResource):
    def __init__(self) -> None:
        super().__init__("test:index:Owner", "owner")


@pulumi.runtime.test
def test_a_token_is_one_random_password_kept_by_its_version_alone(engine: Engine) -> Output[None]:
    def assert_made(_: str) -> None:
        (made,) = engine.created("RandomPassword")
        assert made.name == "t"
        assert made.parent == "owner"
        assert made.inputs == {"length": 43, "special": False, "keepers": {"version": "7"}}
        assert "result" in made.secret_outputs
        assert made.options == {}

    return Token("t", version=7, parent=Owner()).printed.apply(assert_made)


@pulumi.runtime.test
def test_the_printed_token_is_secret_and_what_may_be_shown_of_it_is_not(engine: Engine) -> Output[None]:
    token = Token("t", version=1, parent=Owner())
    secret = printed("t1".ljust(43, "x"))

    def assert_values(values: list[str]) -> None:
        assert values == [secret, digest(secret), fingerprint(digest(secret))]

    async def secretness(_: None) -> None:
        assert await token.printed.is_secret()
        assert not await token.hash.is_secret()
        assert not await token.fingerprint.is_secret()

    return Output.all(token.printed, token.hash, token.fingerprint).apply(assert_values).apply(secretness)


@pulumi.runtime.test
def test_before_a_token_is_made_its_hash_is_unknown_and_not_secret() -> Output[None]:
    install(Engine(unknown_passwords=True), preview=True)
    token = Token("t", version=2, parent=Owner())

    async def look() -> None:
        for shown in (token.hash, token.fingerprint):
            assert not await shown.is_known()
            assert not await shown.is_secret()
        assert not await token.printed.is_known()
        assert await token.printed.is_secret()

    return Output.from_input(look())
