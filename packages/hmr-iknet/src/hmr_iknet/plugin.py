"""What hmr finds through this package's entry point."""

from __future__ import annotations
