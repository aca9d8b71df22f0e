"""How the engine (Pulumi's CLI and Python language host) and the plugins it needs are got."""
