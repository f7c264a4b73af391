"""Lists of arrays in JSON files are read as numbers, entry by entry; what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hmr_core.errors import HmrError
from hmr_datasets import number_lists
from hmr_datasets.number_lists import read_rows

AGAIN = "Unpack it again."


@pytest.fixture(params=[1, 7, 1 << 24])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How much is read at a time: numbers, entries and brackets are cut anywhere."""
    size: int = request.param
    monkeypatch.setattr(number_lists, "CHUNK", size)
    return size


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(("shape", "indent"), [((), None), ((3,), 2), ((2, 3), None)])
def test_it_reads_what_json_reads(tmp_path: Path, shape: tuple[int, ...], indent: int | None) -> None:
    numbers = np.random.default_rng(0).normal(size=(5, *shape)) * 10.0 ** np.arange(-3, 2).reshape(5, *[1] * len(shape))
    path = tmp_path / "numbers.json"
    path.write_text(json.dumps(numbers.tolist(), indent=indent) + "\n", encoding="ascii")
    read = read_rows(path, shape, again=AGAIN)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, numbers.astype(np.float32))


@pytest.mark.usefixtures("chunk")
def test_lists_of_one_element_are_the_element_and_an_empty_list_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "mano.json").write_text("[[[1, 2]], [[3, 4.5]]]", encoding="ascii")
    np.testing.assert_array_equal(read_rows(tmp_path / "mano.json", (2,), again=AGAIN), [[1, 2], [3, 4.5]])
    (tmp_path / "empty.json").write_text(" []", encoding="ascii")
    assert read_rows(tmp_path / "empty.json", (21, 3), again=AGAIN).shape == (0, 21, 3)


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{}", "it is no list"),
        ("", "it is no list"),
        ("[[1, 2], [3, 4]", "it is cut short, or no JSON"),
        ("[[1, 2], [3,", "it is cut short, or no JSON"),
        ("[[1, 2],]", "it is cut short, or no JSON"),
        ("[[1, 2] [3, 4]]", "it is cut short, or no JSON"),
        ("[[1, 2]] [", "something follows the list"),
        ("[[1, 2], [3, 4, 5]]", r"entry 1 has shape \(3,\), not \(2,\)"),
        ("[[1, 2], [3, [4]]]", "entry 1 is no array of numbers"),
        ('[["1", "2"]]', "entry 0 is no array of numbers"),
        ("[[1, null]]", "entry 0 is no array of numbers"),
        ("[[1, NaN]]", "entry 0 has numbers that are not finite"),
        ("[[1, 2\u00e9]]", "it is no text of numbers"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "numbers.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(HmrError, match=rf"numbers\.json is damaged: {what}\. Unpack it again\.$"):
        read_rows(path, (2,), again=AGAIN)


def test_deep_nesting_and_missing_files_are_errors_not_crashes(tmp_path: Path) -> None:
    path = tmp_path / "numbers.json"
    path.write_text("[" * 200_000, encoding="ascii")
    with pytest.raises(HmrError, match="it is cut short, or no JSON"):
        read_rows(path, (2,), again=AGAIN)
    with pytest.raises(HmrError, match=r"cannot read .*gone\.json: No such file or directory\. Unpack it again\.$"):
        read_rows(tmp_path / "gone.json", (2,), again=AGAIN)
