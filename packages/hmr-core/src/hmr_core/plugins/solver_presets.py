"""What `--protocol` and `--solver-set` make of a solver's options.

The options' defaults count least, then what the protocol sets, then what the user sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hmr_core.config import GivenBy, Section, configure, section_options
from hmr_core.errors import HmrError, UsageError
from hmr_core.option_text import value_text
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from hmr_core.plugins.specs import SolverSpec

PROTOCOLS = ("published", "best")
"""published: as the literature's figures were made. best: as good as the solver can."""


def solver_config(spec: SolverSpec, protocol: str, overrides: Sequence[str] = ()) -> Section:
    """A solver's options under a protocol, with each `key=value` applied in turn.

    Raises UsageError for an unknown key, a value of the wrong type, and a protocol other than `published` that the
    solver does not know; HmrError when the solver's plugin sets what its options do not allow.
    """
    given = command_line("--protocol", protocol)
    if protocol not in spec.protocols and protocol != "published":
        known = ", ".join(spec.protocols) or "published"
        raise UsageError(
            f'the solver "{spec.name}" does not say what {given} means. Valid: {known}. Its options can be set one by '
            f"one: `{command_line('hmr solvers', spec.name)}` lists them."
        )
    example = next(iter(section_options(spec.config)), "key")
    try:
        return configure(
            spec.config,
            spec.protocols.get(protocol, {}),
            overrides,
            GivenBy("solver_set", command_line("hmr solvers", spec.name), f"{example}=VALUE"),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise HmrError(
            f'the solver "{spec.name}" is broken: its own options under {given} are not valid '
            f"({place}: {problem['msg']}). Reinstall or repair its package."
        ) from error


def protocol_label(spec: SolverSpec, protocol: str, config: Section) -> str:
    """The protocol as a report names it: `published`, or `published, but fit=lm` with every option that differs."""
    standard, used = (c.model_dump(mode="json") for c in (solver_config(spec, protocol), config))
    differing = [
        f"{key}={value_text(value)}"
        for key in section_options(spec.config)
        if (value := _at(used, key)) != _at(standard, key)
    ]
    return f"{protocol}, but {', '.join(differing)}" if differing else protocol


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
