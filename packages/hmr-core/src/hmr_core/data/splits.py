"""The names of splits and subsets as users may write them."""

from __future__ import annotations

from hmr_core.errors import UsageError, did_you_mean

SPLIT_NAMES = {"sp0": "default", "sp1": "subject", "sp2": "object", "sp0-ho": "handobject"}
"""Our name of each split -> the release's."""

SUBSETS = ("train", "val", "train+val", "test", "all")

_OURS = {release: ours for ours, release in SPLIT_NAMES.items()}


def split_name(given: str) -> str:
    """Our name (sp0, sp1, sp2, sp0-ho) of a split given by it or by the release's; UsageError for any other."""
    if given in SPLIT_NAMES:
        return given
    if given in _OURS:
        return _OURS[given]
    listed = ", ".join(f"{ours} ({release})" for ours, release in SPLIT_NAMES.items())
    meant = did_you_mean(given, [*SPLIT_NAMES, *_OURS])
    raise UsageError(f'unknown split "{given}".{meant} Valid: {listed}.')


def subset_name(given: str) -> str:
    """The name of a subset, checked; UsageError for an unknown one."""
    if given in SUBSETS:
        return given
    raise UsageError(f'unknown subset "{given}".{did_you_mean(given, SUBSETS)} Valid: {", ".join(SUBSETS)}.')
