"""The places that stacks run on, by the platform that their config names."""

from tools import stack as stacks
from tools.place import Place
from tools.stack import Stack


def of(stack: Stack) -> Place:
    """The place of a stack. Each is imported on its own: AWS's SDK alone takes a third of a second."""
    if stacks.platform(stack.root, stack.name) == "aws":
        from tools.aws import Aws

        return Aws(stack)
    from tools.local import ThisMachine

    return ThisMachine(stack)
