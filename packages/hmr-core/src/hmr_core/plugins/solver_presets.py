"""What a protocol and a user make of a solver's options, and whether it has the weights that it needs.

The options' defaults count least, then what the protocol sets, then what the user sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hmr_core.config import GivenBy, Section, configure, section_options
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.option_text import value_text
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from pathlib import Path

    from hmr_core.plugins.specs import ModelSpec, SolverSpec

PROTOCOLS = ("published", "best")
"""published: as the literature's metrics were made. best: as good as the solver can."""


def solver_config(spec: SolverSpec, protocol: str, overrides: Sequence[str] = ()) -> Section:
    """A solver's options under a protocol, with each `key=value` applied in turn.

    Raises UsageError for an unknown key, a value of the wrong type, and a protocol other than `published` that the
    solver does not know; HmrError when the solver's plugin sets what its options do not allow.
    """
    if protocol not in spec.protocols and protocol != "published":
        known = ", ".join(spec.protocols) or "published"
        raise UsageError(
            f'the solver "{spec.name}" does not say what the protocol "{protocol}" means. Valid: {known}.',
            f"Its options can be set one by one: `{command_line('hmr solvers', spec.name)}` lists them.",
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
            f'the solver "{spec.name}" is broken: its own options under the protocol "{protocol}" are not valid '
            f"({place}: {problem['msg']}).",
            "Reinstall or repair its package.",
        ) from error


def protocol_label(spec: SolverSpec, protocol: str, config: Section) -> str:
    """The protocol as a report names it: `published`, or `published, but fit=lm` with every option that differs.

    Of a solver that no published metrics were made with it is `published, but solver=NAME`: the root's depth, what is
    scored and how are the published ones.
    """
    standard, used = (c.model_dump(mode="json") for c in (solver_config(spec, protocol), config))
    differing = [f"solver={spec.name}"] if protocol == "published" and protocol not in spec.protocols else []
    differing += [
        f"{key}={value_text(value)}"
        for key in section_options(spec.config)
        if (value := _at(used, key)) != _at(standard, key)
    ]
    return f"{protocol}, but {', '.join(differing)}" if differing else protocol


def check_weights(spec: SolverSpec, checkpoint: Path | None) -> None:
    """UsageError where a solver lacks the weights that it needs, or is given some that it has no use for."""
    if spec.needs_weights and checkpoint is None:
        raise UsageError(
            f'the solver "{spec.name}" needs its weights.',
            "Add ",
            Option("solver_ckpt", "FILE"),
            " (a run of `hmr train`, a checkpoint, or a released file), or take ",
            Option("solver", "lm"),
            ", which needs none.",
        )
    if not spec.needs_weights and checkpoint is not None:
        raise UsageError(f'the solver "{spec.name}" has no weights.', "Leave ", Option("solver_ckpt"), " out.")


def mesh_already(spec: ModelSpec) -> UsageError:
    """The error for a solver that is to make a mesh for a model that has one."""
    text = f'the model "{spec.name}" gives a mesh of its own, so a solver has nothing to do.'
    return UsageError(text, "Leave ", Option("solver"), " out.")


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
