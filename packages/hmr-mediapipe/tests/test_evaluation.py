"""`hmr eval mediapipe` on a synthetic pack: the same hands for any number of processes, better than the mean hand."""

from __future__ import annotations

from pathlib import Path

import pytest

import hmr_core as hmr
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.synthetic.writer import write_synthetic


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    tree = write_synthetic(folder / "tree", sequences=5, frames=2, seed=0)
    write_pack(open_oakink(tree.root), folder / "pack.h5", codec=codec_named("jpeg"))
    return folder / "pack.h5"


def test_it_is_scored_on_a_pack_that_it_was_not_trained_on(
    networks_folder_path: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    report = hmr.evaluate("mediapipe", split="sp0", data=pack, device="cpu")
    assert report["trained_on"] == "nothing of this data set"
    assert report["found"]["share"] > 0.8
    assert report["synthetic"]
    metrics, baseline = report["metrics"], report["baseline"]["metrics"]
    assert baseline is not None
    for name in ("mpjpe_mm", "pa_mpjpe_mm"):
        assert (metrics[name] or 1e9) < (baseline[name] or 0)
    assert (metrics["pa_mpvpe_mm"] or 1e9) < 15
    options = {"presence": 1.0}  # of which no hand is sure
    nothing = hmr.evaluate("mediapipe", split="sp0", data=pack, device="cpu", set=options)
    assert nothing["found"]["hands"] == 0
    assert nothing["metrics"]["mpjpe_mm"] == pytest.approx(baseline["mpjpe_mm"], abs=1e-4)
