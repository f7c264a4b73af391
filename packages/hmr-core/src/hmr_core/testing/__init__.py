"""The plugin contract as tests: `check_model("name")` in a plugin's own test suite is all that it needs to keep it."""

from hmr_core.testing.model import check_import, check_model, check_spec

__all__ = ["check_import", "check_model", "check_spec"]
