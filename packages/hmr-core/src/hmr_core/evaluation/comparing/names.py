"""What evaluations are called beside each other: the shortest text that tells them apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hmr_core.evaluation.report_keys import Report


def unique_names(reports: Sequence[Report], folders: Sequence[Path]) -> list[str]:
    """What to call evaluations: by the model; those of one model also by what differs of how they were made.

    That is what made the mesh, then the split, the subset and the protocol; and where these are the same, the part of
    the folder's path.
    """
    names = [report["model"] for report in reports]
    for alike in _alike(names):
        solvers = [_solver(reports[place]) for place in alike]
        told = [", ".join(parts) for parts in zip(*_differing([reports[place] for place in alike]), strict=True)]
        for i, place in enumerate(alike):
            by = f" + {solvers[i]}" if solvers[i] and len(set(solvers)) > 1 else ""
            names[place] += by + (f" ({told[i]})" if told else "")
    for alike in _alike(names):
        for place, part in zip(alike, _own_parts([folders[place] for place in alike]), strict=True):
            names[place] = f"{names[place][:-1]}, {part})" if names[place].endswith(")") else f"{names[place]} ({part})"
    return names


def _alike(names: Sequence[str]) -> list[list[int]]:
    """The places of each name that several have."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return [those for those in places.values() if len(those) > 1]


def _solver(report: Report) -> str:
    solver = report.get("solver")
    return solver["name"] if solver else ""


def _differing(reports: Sequence[Report]) -> list[list[str]]:
    """Of each thing in which some reports differ, what each says."""
    said: tuple[Callable[[Report], str], ...] = (
        lambda report: report["split"],
        lambda report: report["subset"],
        lambda report: report.get("protocol", "published"),
    )
    columns = [[say(report) for report in reports] for say in said]
    return [column for column in columns if len(set(column)) > 1]


def _own_parts(folders: Sequence[Path]) -> list[str]:
    """The part of each path in which it differs from the others, of one name at least."""
    parts = [list(folder.absolute().parts) for folder in folders]
    while all(len(one) > 1 for one in parts) and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    while all(len(one) > 1 for one in parts) and len({one[-1] for one in parts}) == 1:
        parts = [one[:-1] for one in parts]
    return [str(Path(*one)) for one in parts]
