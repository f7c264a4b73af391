"""The protocols of an evaluation."""

from __future__ import annotations

from hmr_core.plugins.solver_presets import PROTOCOLS

OFFICIAL = "official"
"""A pack is scored by its data set's own rules, too. Solvers are as under `published`."""

EVALUATION_PROTOCOLS = (*PROTOCOLS, OFFICIAL)
"""Those of solvers' options, and `official`."""


def solver_protocol(protocol: str) -> str:
    """The protocol of the solver's options under one of an evaluation."""
    return "published" if protocol == OFFICIAL else protocol
