"""Hand mesh recovery: `import hmr_core as hmr`. docs/api.md shows each name at work.

A name is imported from its home when it is first used. So the import itself takes no time, and only what needs torch
imports it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = [
    "Hand",
    "HandLayer",
    "HmrError",
    "ImageDataset",
    "Tracker",
    "compare",
    "draw",
    "evaluate",
    "load",
    "metrics",
    "open_pack",
    "resume",
    "track",
    "train",
]

_HOMES = {
    "Hand": "hmr_core.hand.hand",
    "HandLayer": "hmr_core.hand.layer",
    "HmrError": "hmr_core.errors",
    "ImageDataset": "hmr_core.data.image_dataset",
    "Tracker": "hmr_core.inference.video.tracker",
    "compare": "hmr_core.evaluation.comparing.session",
    "draw": "hmr_core.inference.predictor",
    "evaluate": "hmr_core.evaluation.session",
    "load": "hmr_core.inference.load",
    "metrics": "hmr_core.metrics",
    "open_pack": "hmr_core.data.pack.reader",
    "resume": "hmr_core.training.resume",
    "track": "hmr_core.inference.video.track",
    "train": "hmr_core.training.session",
}
"""The module in which each public name is defined."""

if TYPE_CHECKING:
    from hmr_core import metrics
    from hmr_core.data.image_dataset import ImageDataset
    from hmr_core.data.pack.reader import open_pack
    from hmr_core.errors import HmrError
    from hmr_core.evaluation.comparing.session import compare
    from hmr_core.evaluation.session import evaluate
    from hmr_core.hand.hand import Hand
    from hmr_core.hand.layer import HandLayer
    from hmr_core.inference.load import load
    from hmr_core.inference.predictor import draw
    from hmr_core.inference.video.track import track
    from hmr_core.inference.video.tracker import Tracker
    from hmr_core.training.resume import resume
    from hmr_core.training.session import train
else:  # type checkers would take any name for one that is there

    def __getattr__(name: str) -> object:
        """A public name, imported from its home."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = import_module(_HOMES[name])
        value = home if home.__name__ == f"{__name__}.{name}" else getattr(home, name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """The public names, for completion in notebooks."""
    return sorted({*globals(), *__all__})
