"""The options of detectors and predictors, with what a user sets."""

from __future__ import annotations

from collections.abc import Sequence

from hmr_core.config import GivenBy, Section, configure, section_options
from hmr_core.plugins.specs import DetectorSpec, PredictorSpec
from hmr_core.shell import command_line


def photo_options(spec: DetectorSpec | PredictorSpec, overrides: Sequence[str]) -> Section:
    """The options of a detector or a predictor, with each `key=value` applied in turn.

    Raises UsageError for an unknown key, a value of the wrong type, and one that has no effect.
    """
    example = next(iter(section_options(spec.config)), "key")
    if isinstance(spec, DetectorSpec):
        option, command = "detector_set", command_line("hmr detectors", spec.name)
    else:
        option, command = "set", command_line("hmr predictors", spec.name)
    given_by = GivenBy(option, command, f"{example}=VALUE")
    return configure(spec.config, {}, overrides, given_by)
