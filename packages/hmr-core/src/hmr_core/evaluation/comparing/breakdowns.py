"""Metrics joint by joint, and of some of the samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

import numpy as np

from hmr_core.errors import HmrError, Option, UsageError, did_you_mean
from hmr_core.evaluation.comparing.comparison import Breakdown, By, Group
from hmr_core.evaluation.comparing.groups import Annotated, grouping
from hmr_core.evaluation.comparing.measures import Measure, joint_measure
from hmr_core.evaluation.comparing.resampling import Resampling
from hmr_core.hand.joints import FINGERS, JOINT_NAMES
from hmr_core.metrics import SampleErrors

BYS: tuple[By, ...] = get_args(By)
"""All that there may be breakdowns by, in their order."""

BROKEN_DOWN = ("mpjpe_mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm")
"""The metrics that groups of samples are compared by. Joints and fingers are by MPJPE alone."""

_PARTS = {
    "joint": {name: [joint] for joint, name in enumerate(JOINT_NAMES)},
    "finger": {"wrist": [0]} | {name: [*range(4 * i + 1, 4 * i + 5)] for i, name in enumerate(FINGERS)},
}
"""Groups of joints."""


def check_by(by: Sequence[str], samples: Annotated | None) -> None:
    """UsageError for a name that there is no breakdown by, or not of these samples; HmrError where there is no pack."""
    for name in by:
        if name not in BYS:
            raise UsageError(f'there is no breakdown by "{name}".{did_you_mean(name, BYS)} Valid: {", ".join(BYS)}.')
    if by and samples is None:
        raise HmrError("a breakdown needs the pack, and it was not found.", "Name it with ", Option("data"), ".")
    for name in by:
        if samples is not None and not _known(samples, name):
            raise UsageError(
                f"{samples.pack.path} does not say of these samples which {name} they are of. Valid: "
                f"{', '.join(other for other in BYS if _known(samples, other))}."
            )


def _known(samples: Annotated, by: str) -> bool:
    return by in _PARTS or grouping(samples, by) is not None


def breakdowns(
    samples: Annotated,
    errors: Sequence[SampleErrors],
    measured: Sequence[Mapping[str, Measure]],
    resampling: Resampling,
    by: Sequence[str] | None,
) -> Iterator[Breakdown]:
    """The breakdowns by these names that the pack knows, in the order of BYS; by None: all that it knows several groups
    of. errors, measured: of each evaluation.
    """
    for name in BYS:
        if by is not None and name not in by:
            continue
        if name in _PARTS:
            yield _by_joints(name, errors, resampling)
            continue
        groups = grouping(samples, name)
        if groups is None or (by is None and len(groups.names) == 1):
            continue
        for metric in BROKEN_DOWN:
            measures = [one.get(metric) for one in measured]
            if all(measure is None for measure in measures):
                continue
            places = [groups.chosen(group) for group in range(len(groups.names))]
            found = [
                Group(name=label, samples=len(chosen), values=resampling.intervals(measures, chosen, least=0.0))
                for label, chosen in zip(groups.names, places, strict=True)
            ]
            yield Breakdown(by=name, metric=metric, groups=found)


def _by_joints(by: By, errors: Sequence[SampleErrors], resampling: Resampling) -> Breakdown:
    """MPJPE of single joints, or of those of a finger."""
    groups = []
    for name, joints in _PARTS[by].items():
        measures = [joint_measure(1000 * one.joints[:, joints]) for one in errors]
        known = int(np.count_nonzero(measures[0].weights))
        groups.append(Group(name=name, samples=known, values=resampling.intervals(measures, least=0.0)))
    return Breakdown(by=by, metric="mpjpe_mm", groups=groups)
