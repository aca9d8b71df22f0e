"""The program: a stack's config in, integrations out."""

import pulumi

from components import config, platform
from components.integration import Integration

settings = config.read()
place = platform.of(settings)
integrations = [Integration(declared, place, settings.connection(declared)) for declared in settings.integrations]

pulumi.export("integrations", {made.schema: made.exported for made in integrations})
pulumi.export("receiver", place.url)
pulumi.export("warehouse", place.warehouse)
