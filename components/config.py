"""Where Pulumi's config enters: the one place that knows how the engine hands it over."""

import os

import pulumi
from pulumi.runtime.config import CONFIG, get_config_env, is_config_secret

from components import passphrase
from components.settings import NAMESPACE, Settings, SettingsError, parse


def read() -> Settings:
    """The stack's settings.

    A config with mistakes ends the program with their list: Pulumi prints a RunError's text alone, without a
    traceback. No resource has been registered by then.
    """
    # pulumi.Config can't list its keys, and a misspelt key is only found in the whole.
    everything = {**get_config_env(), **CONFIG.get()}
    prefix = f"{NAMESPACE}:"
    raw = {key.removeprefix(prefix): text for key, text in everything.items() if key.startswith(prefix)}
    try:
        return parse(
            raw,
            stack=pulumi.get_stack(),
            secret_keys={key for key in raw if is_config_secret(prefix + key)},
            aws_region=everything.get("aws:region") or os.environ.get("AWS_REGION"),
            passphrase=passphrase.of_stack(pulumi.get_stack()),
        )
    except SettingsError as mistakes:
        raise pulumi.RunError(str(mistakes)) from None
