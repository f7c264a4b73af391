"""Plotly's JavaScript, which draws the page's charts: from its package, so that a page is whole without a network."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec

from hmr_core.errors import HmrError

INSTALL = 'pip install "hmr-core[report]"'


def require_plotly() -> None:
    """HmrError with the command that installs Plotly where it is not there."""
    if find_spec("plotly") is None:
        raise HmrError(f"Plotly is not installed, which draws the page's charts. Run: {INSTALL}")


def plotly_js() -> str:
    """Read Plotly's JavaScript; HmrError with the command that installs it where it is not there.

    The package is not imported, which takes a second: its file is all that is needed.
    """
    require_plotly()
    try:
        return (files("plotly") / "package_data" / "plotly.min.js").read_text(encoding="utf-8")
    except OSError as error:
        raise HmrError(
            f"the package plotly is there, but not its JavaScript ({error.strerror}). Install it again: {INSTALL}"
        ) from error
