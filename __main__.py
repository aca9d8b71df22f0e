"""The program: a stack's config in, integrations out."""

import pulumi

from components import config, platforms
from components.integration import Integration

settings = config.read()
platform = platforms.of(settings)
integrations = [Integration(declared, platform, settings.connection(declared)) for declared in settings.integrations]

pulumi.export("integrations", {made.schema: made.exported for made in integrations})
pulumi.export("receiver", platform.url)
pulumi.export("warehouse", platform.warehouse)
