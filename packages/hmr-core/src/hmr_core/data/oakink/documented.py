"""What the release's documentation says of its lists."""

from __future__ import annotations

from collections.abc import Mapping

DOCUMENTED: Mapping[str, Mapping[str, int]] = {
    "sp0": {"train": 216_579, "val": 15_470, "train+val": 232_049, "test": 77_330, "all": 314_404},
    "sp1": {"train": 177_490, "val": 6_151, "train+val": 192_532, "test": 83_503, "all": 314_404},
    "sp2": {"train": 214_630, "val": 16_202, "train+val": 230_832, "test": 78_547, "all": 314_404},
}
"""The samples of the release by split; sp0-ho has no count of its own there."""

AGAIN = "Unpack the release's annotations again (image/anno/split, split_train_val, seq_all.json)."
"""What to do where the lists are not the release's."""
