"""Plotly's JavaScript, which draws the page's charts: from its package, so that a page is whole without a network."""

from __future__ import annotations

from pathlib import Path

from hmr_core.optional_packages import not_whole, require_there

INSTALL = 'pip install "hmr-core[report]"'


def require_plotly() -> None:
    """HmrError with the command that installs Plotly where it is not there, or is not whole."""
    _script()


def plotly_js() -> str:
    """Read Plotly's JavaScript; HmrError with the command that installs it where it is not there.

    The package is not imported, which takes a second: its file is all that is needed.
    """
    return _script().read_text(encoding="utf-8")


def _script() -> Path:
    found = require_there("plotly", "Plotly, which draws the page's charts,", INSTALL)
    for folder in (found and found.submodule_search_locations) or ():
        if (script := Path(folder, "package_data", "plotly.min.js")).is_file():
            return script
    raise not_whole("plotly", "Plotly, which draws the page's charts,", found, "it has no package_data/plotly.min.js")
