"""The plugins: which work, which do not and why, and which of ours could be installed."""

from __future__ import annotations

from collections.abc import Iterator

from hmr_core.data.remarks import Level
from hmr_core.doctor.finding import Finding
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.registry import Registry
from hmr_core.shell import command_line

SECTION = "plugins"


def plugins(registry: Registry) -> Iterator[Finding]:
    """A line for every plugin, and one for every package of ours that is not installed."""
    statuses = registry.plugins
    for plugin in statuses:
        name = f"{plugin.name} ({plugin.distribution} {plugin.version})".replace(" )", ")")
        kinds = (("models", plugin.models), ("datasets", plugin.datasets), ("solvers", plugin.solvers))
        offers = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in kinds if names)
        if plugin.ok:
            yield Finding(section=SECTION, level="ok", text=f"{name}{' offers ' + offers if offers else ''}")
            continue
        level: Level = "note" if plugin.status == "left out" else "wrong"
        yield Finding(
            section=SECTION,
            level=level,
            text=f"{name} is {plugin.status}: {plugin.reason}",
            remedy=command_line("hmr plugins", plugin.name),
        )
    there = {plugin.distribution for plugin in statuses}
    missing: dict[str, list[str]] = {}
    for kind, known in KNOWN.items():
        for name, what in known.items():
            if what.distribution not in there:
                missing.setdefault(what.distribution, []).append(f"{kind} {name}")
    for distribution, names in missing.items():
        yield Finding(
            section=SECTION,
            level="note",
            text=f"{distribution} is not installed: {', '.join(names)}",
            remedy=command_line("pip install", distribution),
        )
