"""Over two hundred bits of a pack are flipped, one at a time: verify finds each, and none gives a wrong figure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.format import USER_BLOCK_BYTES, Header
from hmr_core.data.pack.layout import ArrayLocation, read_layout, stretches, structure_digest
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.verify import verify_pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.evaluate import Evaluation, evaluate
from hmr_core.evaluation.subject import EvaluationSubject
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights.checkpoints import Checkpoint

FLIPS = {"header": 20, "structure": 60, "lists": 20, "samples": 50, "images": 50}


@pytest.fixture(scope="module")
def file(mini_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack of train+val of sp0: 72 samples, of which val's 15 are evaluated."""
    path = tmp_path_factory.mktemp("pack") / "sp0.h5"
    write_pack(open_oakink(mini_tree), path, splits=["sp0"], subset="train+val", codec=codec_named("jpeg:50"))
    return path


@pytest.fixture(scope="module")
def checkpoint(small_spec: ModelSpec) -> Checkpoint:
    recipe = load_recipe(small_spec, "tiny")
    torch.manual_seed(0)
    return Checkpoint(path=Path("none"), model=small_spec.build(recipe.model), recipe=recipe, record=None, digest="")


def part_of(place: str) -> str:
    if place.startswith("splits/"):
        return "lists"
    return "images" if place == "images/bytes" else "samples"


def positions(path: Path, places: dict[str, ArrayLocation], generator: np.random.Generator) -> list[tuple[str, int]]:
    """Where to flip: positions by part of the file, drawn evenly from each, and from each array of samples."""
    parts = np.full(path.stat().st_size, "structure", dtype="U9")
    parts[:USER_BLOCK_BYTES] = "header"
    drawn = []
    for name, place in places.items():
        parts[place.offset : place.offset + place.size] = part_of(name)
        if part_of(name) == "samples":  # the largest would else get all
            drawn += [("samples", int(place.offset + generator.integers(place.size))) for _ in range(2)]
    for part, count in FLIPS.items():
        missing = count - sum(other == part for other, _ in drawn)
        drawn += [(part, int(i)) for i in generator.choice(np.flatnonzero(parts == part), missing, replace=False)]
    return drawn


def awkward(places: dict[str, ArrayLocation], rows: list[int]) -> Iterator[tuple[int, int]]:
    """Bits, by byte and number, that are rarely drawn and were missed: an id is no text, an image ends far away."""
    place = places["samples/id"]
    for row in (rows[0], rows[-1]):
        yield place.offset + row * place.row_bytes, 7
        yield place.offset + (row + 1) * place.row_bytes - 1, 7
    place = places["images/offsets"]
    for bit in range(16, places["images/bytes"].size.bit_length()):
        yield place.offset + rows[3] * place.row_bytes + bit // 8, bit % 8


def flip(path: Path, position: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def figures(evaluation: Evaluation) -> dict[str, Any]:
    """All that an evaluation says, but how long it took."""
    predictions = evaluation.predictions
    return {
        "report": evaluation.report | {"seconds": None},
        "ids": predictions.ids,
        "joints": predictions.joints.tobytes(),
        "pack": predictions.pack,
        "labels": predictions.labels,
    }


def test_no_flipped_byte_goes_unnoticed(
    file: Path,
    tmp_path: Path,
    small_spec: ModelSpec,
    checkpoint: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copy = Path(shutil.copy(file, tmp_path / "pack.h5"))
    monkeypatch.setattr("hmr_core.evaluation.report.versions", dict)  # looking for them takes as long as all the rest

    def evaluated() -> dict[str, Any]:
        request = EvaluationSubject(spec=small_spec, checkpoint=checkpoint, pack=Pack(copy), split="sp0", subset="val")
        return figures(evaluate(request, device=torch.device("cpu"), batch_size=16, workers=0))

    generator = np.random.default_rng(0)
    right = evaluated()
    refused = dict.fromkeys(FLIPS, 0)
    places = read_layout(copy)[1]
    drawn = [(part, position, int(generator.integers(8))) for part, position in positions(copy, places, generator)]
    assert len(drawn) == 200
    rows = Pack(copy).indices("sp0", "val").tolist()
    aimed = [("samples", position, bit) for position, bit in awkward(places, rows)]
    for part, position, bit in drawn + aimed:
        flip(copy, position, bit)
        assert verify_pack(copy), f"verify does not find bit {bit} of byte {position} ({part})"
        try:
            found = evaluated()
        except HmrError:
            refused[part] += 1
        else:
            said = found["report"]["baseline"].get("reason") or ""
            if "is damaged" in said:  # the list of another subset, for which there is then no figure
                refused[part] += 1
                found["report"]["baseline"] = right["report"]["baseline"]
            assert found == right, f"bit {bit} of byte {position} ({part}) changes what eval says"
        flip(copy, position, bit)
    assert evaluated() == right
    # What every evaluation reads is refused always; an image or an annotation only where its sample is evaluated.
    assert (refused["header"], refused["structure"]) == (20, 60)
    assert 0 < refused["lists"] <= 20
    assert len(aimed) < refused["samples"] < 50 + len(aimed)
    assert 0 < refused["images"] < 50


@pytest.mark.parametrize("name", ["joints", "intrinsics"])
def test_damage_to_what_the_mean_pose_is_made_of_is_an_error(
    file: Path, tmp_path: Path, small_spec: ModelSpec, checkpoint: Checkpoint, name: str
) -> None:
    copy = Path(shutil.copy(file, tmp_path / "pack.h5"))
    row = int(Pack(copy).indices("sp0", "train")[3])  # none of those that are evaluated
    place = read_layout(copy)[1][f"samples/{name}"]
    flip(copy, place.offset + row * place.row_bytes + 2, 6)
    request = EvaluationSubject(spec=small_spec, checkpoint=checkpoint, pack=Pack(copy), split="sp0", subset="val")
    with pytest.raises(HmrError) as error:
        evaluate(request, device=torch.device("cpu"), batch_size=16, workers=0)
    assert str(error.value) == (
        f"/samples/{name} in {copy} is damaged: it does not have the recorded digest. "
        f"Find all that is damaged: hmr pack verify {copy}"
    )


def test_a_damaged_list_is_refused_though_it_names_rows_that_are_there(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "pack.h5"))
    flip(copy, read_layout(copy)[1]["splits/sp0/val"].offset, 0)
    with pytest.raises(HmrError, match=rf"^/splits/sp0/val in {copy} is damaged: it does not have the recorded digest"):
        Pack(copy).indices("sp0", "val")
    assert len(Pack(copy).indices("sp0", "train")) == 57


def test_a_damaged_attribute_is_refused_though_it_is_valid(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "pack.h5"))
    content = copy.read_bytes()
    position = content.index(b"OakInk-Image v2.1")
    flip(copy, position, 1)
    with pytest.raises(
        HmrError, match=rf"{copy}: its HDF5 structure is damaged \(it does not have the recorded digest"
    ):
        Pack(copy)
    problems = verify_pack(copy)
    assert problems[1:] == [
        "the HDF5 structure (attributes, places of arrays) is damaged, so that the arrays cannot be looked at"
    ]


def test_a_damaged_structure_is_not_shown_to_the_hdf5_library(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which it may crash: h5py 3.11 does of a flipped byte."""
    copy = Path(shutil.copy(file, tmp_path / "pack.h5"))
    places = read_layout(copy)[1]
    covered = np.zeros(copy.stat().st_size, dtype=bool)
    covered[:USER_BLOCK_BYTES] = True
    for place in places.values():
        covered[place.offset : place.offset + place.size] = True

    def crash(*given: Any, **options: Any) -> None:
        raise AssertionError("the HDF5 library was shown a damaged file")

    monkeypatch.setattr(h5py, "File", crash)
    structure = np.flatnonzero(~covered)
    assert len(structure) > 1000
    for position in structure[:: len(structure) // 60].tolist():
        flip(copy, position, 3)
        with pytest.raises(HmrError, match="its HDF5 structure is damaged"):
            Pack(copy)
        assert len(verify_pack(copy)) == 2
        flip(copy, position, 3)
    with pytest.raises(AssertionError, match="was shown"):
        Pack(copy)
    for position in range(0, USER_BLOCK_BYTES, 97):
        flip(copy, position, 3)
        with pytest.raises(HmrError):
            Pack(copy)
        assert verify_pack(copy)
        flip(copy, position, 3)


def test_a_header_that_names_another_structure(file: Path, tmp_path: Path) -> None:
    """Its digests are right, and cover less than the whole structure: the rest would be read unchecked."""
    copy = Path(shutil.copy(file, tmp_path / "pack.h5"))
    size = copy.stat().st_size
    gaps = list(stretches(read_layout(copy)[1].values(), size))
    for wrong in (gaps[:-1], [(gaps[0][0], gaps[0][1] - 8), *gaps[1:]], [], [(USER_BLOCK_BYTES, 1 << 40)]):
        with copy.open("r+b") as raw:
            digest = "" if wrong and wrong[0][1] == 1 << 40 else structure_digest(raw.fileno(), wrong)
            raw.write(Header("hmr-pack/1", size, "", digest, wrong).block())
        with pytest.raises(HmrError, match=r"its HDF5 structure is damaged \((its arrays lie elsewhere|most of the)"):
            Pack(copy)
        assert any("structure" in problem for problem in verify_pack(copy))


def test_a_damaged_header_is_refused_though_it_can_be_read(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / "pack.h5"))
    content = copy.read_bytes()
    digit = content.index(b'"blake2b": "') + 20
    copy.write_bytes(content[:digit] + (b"1" if content[digit : digit + 1] == b"0" else b"0") + content[digit + 1 :])
    with pytest.raises(HmrError, match=rf"^{copy} is damaged: its header does not have the recorded checksum\."):
        Pack(copy)
