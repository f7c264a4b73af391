"""OakInk-Image v2.1, read from the release's own tree."""

from hmr_core.data.oakink.reader import OakInkReader, open_oakink

__all__ = ["OakInkReader", "open_oakink"]
