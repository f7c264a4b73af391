"""Versions of what a result depends on."""

from __future__ import annotations

from hmr_core.versions import versions


def test_versions_name_what_a_result_depends_on() -> None:
    assert {"python", "torch", "numpy", "h5py", "hmr-core", "hmr-integral"} <= set(versions())
