"""Training takes the very steps that it took when data/traces was recorded, for each model to the last bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TRACES = Path(__file__).parent / "data/traces"
SCRIPT = Path(__file__).parent / "trace_training.py"


SAME_EVERYWHERE = {
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "OMP_NUM_THREADS": "1",
}
"""What keeps libraries from choosing other instructions, and so other roundings, on other processors."""


@pytest.mark.parametrize("model", ["integral", "rle", "i2l", "iknet"])
def test_a_models_steps_are_those_that_were_recorded(
    model: str, mini_pack_path: Path, mini_hand_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "trace.json"
    command = [sys.executable, str(SCRIPT), model, str(mini_pack_path), str(mini_hand_path), str(out)]
    subprocess.run(command, env={**os.environ, **SAME_EVERYWHERE}, check=True, capture_output=True)
    traced, recorded = (json.loads(path.read_text(encoding="utf-8")) for path in (out, TRACES / f"{model}.json"))
    assert len(recorded["losses"]) == 22
    if all(traced[kind] == recorded[kind] for kind in ("arithmetic", "pixels")):
        assert traced == recorded
    else:  # another PyTorch or OpenCV, or another kind of processor: the steps part little by little
        assert len(traced["losses"]) == 22
        assert_close(traced["losses"][:3], recorded["losses"][:3], 0.05)


def assert_close(traced: list[dict[str, Any]], recorded: list[dict[str, Any]], share: float) -> None:
    """The same names and, within a share, the same values."""
    assert len(traced) == len(recorded)
    for own, its in zip(traced, recorded, strict=True):
        assert own.keys() == its.keys()
        for name, value in its.items():
            if value is None:
                assert own[name] is None
            else:
                assert float.fromhex(own[name]) == pytest.approx(float.fromhex(value), rel=share), name
