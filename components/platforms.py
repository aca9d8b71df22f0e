"""The platforms that there are."""

from components.platform import Platform
from components.settings import Settings


def of(settings: Settings) -> Platform:
    """The platform that the stack's config names. Each is imported on its own: pulumi-aws alone takes a second."""
    if settings.platform == "aws":
        from components.aws.platform import AwsPlatform

        return AwsPlatform(settings)
    from components.local.platform import LocalPlatform

    return LocalPlatform(settings)
