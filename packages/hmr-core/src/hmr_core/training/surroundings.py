"""What a run computes with: the versions of libraries and of hmr's own code, compared with those of before."""

from __future__ import annotations

from collections.abc import Mapping

_OWN = "hmr-"
"""How the names of hmr's own packages begin."""


def version_notes(before: Mapping[str, str], now: Mapping[str, str], plugin: str) -> list[str]:
    """Name what was of another version when a run was last saved, of all that its steps depend on.

    plugin: the package that has the run's model; hmr's other plugins have no part in the steps.
    """
    notes = []
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) == now.get(name) or (name.startswith(_OWN) and name not in ("hmr-core", plugin)):
            continue
        is_now = f"{name} {now[name]} now" if name in now else f"no {name} now"
        may = "be others" if name.startswith(_OWN) else "differ in their last bits"
        notes.append(f"{is_now}, {before.get(name, 'none')} before: the steps may {may}")
    return notes


def commit_notes(before: object, now: Mapping[str, str | None]) -> list[str]:
    """Name the commit of hmr's code where it is another than when a run was started; as `provenance` has them.

    before: as a run's config.json has it, which may have been edited.
    """
    old, new = before.get("hmr-core") if isinstance(before, dict) else None, now.get("hmr-core")
    if old == new or old is None or new is None:
        return []
    return [f"hmr's code is at commit {new} now, and was at {old} when the run was started: the steps may be others"]
