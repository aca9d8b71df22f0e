"""The program: a stack's config in, integrations out."""

import pulumi

from components import config
from components.integration import Integration
from components.local.platform import LocalPlatform

settings = config.read()
platform = LocalPlatform(settings)
integrations = [Integration(declared, platform, settings.connection(declared)) for declared in settings.integrations]

pulumi.export("integrations", {made.schema: made.exported for made in integrations})
pulumi.export("receiver", platform.url)
pulumi.export("warehouse", {"dsn": platform.dsn})
