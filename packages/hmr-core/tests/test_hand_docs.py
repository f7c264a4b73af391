"""docs/hand_models.md is right: its programs run as they stand, and it names every array of a hand model's file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from hmr_core.hand.joints import TIP_VERTICES
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.model import SHAPES, save_hand_model

PAGE = (Path(__file__).parents[3] / "docs/hand_models.md").read_text(encoding="utf-8")
MANO = Path(__file__).parent / "data/mano_v1_2/models/MANO_RIGHT.pkl"

PRINTED = [
    "the synthetic right hand (no hand model was given, and HMR_HAND_MODEL names none)\n"
    "torch.Size([2, 778, 3]) torch.Size([2, 21, 3]) torch.Size([2, 16, 4, 4]) True\n",
    "torch.Size([1, 778, 3])\n",
    "torch.Size([1552, 3])\n",
]


def test_its_programs_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    programs = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    assert len(programs) == len(PRINTED)
    for program, expected in zip(programs, PRINTED, strict=True):
        exec(compile(program, "docs/hand_models.md", "exec"), {})
        assert capsys.readouterr().out == expected


def test_it_names_every_array_of_the_file(tmp_path: Path) -> None:
    save_hand_model(read_mano_file(MANO), tmp_path / "hand.npz")
    section = PAGE[PAGE.index("## The file") :]
    with np.load(tmp_path / "hand.npz") as file:
        for name in file.files:
            assert f"`{name}`" in section, name
    for name, shape in SHAPES.items():
        assert f"`{name}` ({', '.join(map(str, shape))})".replace(",)", ")") in " ".join(section.split()), name


def test_it_names_the_tips() -> None:
    assert "vertices {}, {}, {}, {} and {}".format(*TIP_VERTICES) in PAGE
