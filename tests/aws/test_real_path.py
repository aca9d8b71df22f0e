"""A stack on AWS with everything started as a user's `pulumi` starts it."""

from tests.aws.cloud import cloud, real_aws_clone, registry, token_hash
from tests.aws.test_stack import done, everything
from tests.support.stack import CUSTOMERIO


def test_a_users_own_pulumi_makes_rotates_and_destroys_it() -> None:
    """The CLI, the language host, the launcher and the plugins, each in a process of its own."""
    with cloud() as at, real_aws_clone(at) as stack:
        stack.declare(CUSTOMERIO)
        assert {step.op for step in stack.up()} == {"create"}
        old = stack.url()
        assert registry(at).keys() == {token_hash(old)}
        stack.declare({**CUSTOMERIO, "tokens": {"primary": 2}})
        assert done(stack.up(), "token-primary", "endpoint-primary") == [
            ("create-replacement", "token-primary"),
            ("create-replacement", "endpoint-primary"),
            ("delete-replaced", "endpoint-primary"),
            ("delete-replaced", "token-primary"),
        ]
        new = stack.url()
        assert new != old
        assert registry(at).keys() == {token_hash(new)}
        stack.destroy()
        assert everything(at) == []
