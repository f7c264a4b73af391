"""The rule that is the same for the options of all that plugins offer."""

from __future__ import annotations

from hmr_core.config import Section


def check_options(who: str, config: object) -> None:
    """The config is a frozen section that refuses unknown keys; AssertionError, which begins with `who`, otherwise."""
    if not (isinstance(config, type) and issubclass(config, Section)):
        raise AssertionError(
            f"{who}: its config is {config!r}, not a subclass of hmr_core.config.Section, which refuses unknown keys."
        )
    settings = config.model_config
    if settings.get("extra") != "forbid" or not settings.get("frozen"):
        raise AssertionError(
            f"{who}: its config class must be frozen and refuse unknown keys, so that a misspelt option is told and a "
            "report's options are those that were used."
        )
