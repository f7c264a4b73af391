"""The pack that is used where none is given."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmr_core.data.default_pack import default_pack


@pytest.mark.parametrize(("named", "used"), [(None, "data/oakink.h5"), ("", "data/oakink.h5"), ("my.h5", "my.h5")])
def test_the_environments_pack_comes_before_the_default(
    monkeypatch: pytest.MonkeyPatch, named: str | None, used: str
) -> None:
    monkeypatch.delenv("HMR_DATA", raising=False)
    if named is not None:
        monkeypatch.setenv("HMR_DATA", named)
    assert default_pack() == Path(used)
