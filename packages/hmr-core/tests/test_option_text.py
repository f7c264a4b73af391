"""An option's value as text: read by the option's type, and written so that it reads as itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from hmr_core.option_text import override_texts, read_value, value_text
from hmr_core.plugins.recipes import load_recipe, options
from hmr_core.plugins.registry import discover

LOOKS_LIKE_OTHERS = (
    *(
        "2026-11-29",
        "07:30:00",
        "2026-11-29 10:00:00",
        "2026-11-29T10:00:00Z",
        "42",
        "1_1",
        "1e5",
        "0x10",
        "true",
        "inf",
    ),
    *("[1, 2]", "{a = 1}", "run#7", "a, b = 3", '"begun', "", "run7", "r\u00e4ume/\u624b.pth"),
)
Positive = Annotated[int, Field(gt=0)]


@pytest.mark.parametrize("kind", [str, Path, str | None, Path | None])
@pytest.mark.parametrize("text", LOOKS_LIKE_OTHERS)
def test_a_text_option_takes_what_was_typed(kind: Any, text: str) -> None:
    assert read_value(kind, text) == text


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (str, '"42"', "42"),
        (str, "'a b '", "a b "),
        (str, r'"a\tb"', "a\tb"),
        (str, "null", "null"),
        (str | None, "null", None),
        (str | None, '"null"', "null"),
        (int, "null", None),
        (int, "0x10", 16),
        (int, '"3"', "3"),
        (int, "3 # three", "3 # three"),
        (int, "3, more = 4", "3, more = 4"),
        (float, "1e5", 1e5),
        (bool, "true", True),
        (Literal["1", "2"], "1", "1"),
        (Literal[18, 34], "18", 18),
        (Literal["auto", 3], "3", 3),
        (int | str, "42", 42),
        (int | str, "4.2", "4.2"),
        (int | str, "2026-11-29", "2026-11-29"),
        (Literal["auto"] | float | None, "0.5", 0.5),
        (Literal["auto"] | float | None, "auto", "auto"),
        (Literal["auto"] | float | None, "null", None),
        (tuple[int, ...], "[3, 4]", [3, 4]),
        (tuple[Positive, ...], "[3]", [3]),
        (tuple[str, ...], '["a, b", "c"]', ["a, b", "c"]),
        (tuple[str, ...], "[backbone, 1e5, '2026-11-29']", ["backbone", "1e5", "2026-11-29"]),
        (list[Path] | None, "[42]", ["42"]),
        (list[str], "[]", []),
        (str | tuple[str, ...], "42", "42"),
        (str | tuple[str, ...], "[42, x]", ["42", "x"]),
    ],
)
def test_a_text_is_read_by_the_option_s_type(kind: Any, text: str, value: Any) -> None:
    read = read_value(kind, text)
    assert (read, type(read)) == (value, type(value))


@pytest.mark.parametrize("text", [*LOOKS_LIKE_OTHERS, "null", " a ", "'a'", '"a"', 'a"b', "a\tb", "\U0001f590"])
def test_a_text_is_written_so_that_it_reads_as_itself(text: str) -> None:
    for kind in (str, str | None, int | str, Path | bool | None):
        assert read_value(kind, value_text(text)) == text


def test_every_value_of_every_recipe_is_written_so_that_it_reads_as_itself() -> None:
    held = 0
    for spec in discover().models().values():
        for name in spec.recipes:
            recipe = load_recipe(spec, name).model_dump(mode="json")
            for key, field in options(spec).items():
                value: Any = recipe
                for part in key.split(".") if key.split(".")[0] in recipe else ("model", *key.split(".")):
                    value = value[part]
                assert read_value(field.annotation, value_text(value)) == value, key
                held += 1
    assert held > 100


def test_a_mapping_becomes_overrides() -> None:
    values = {"train.epochs": 3, "data.noise_mm": 5.0, "backbone.weights": Path("a b.pth"), "train.clip_norm": None}
    assert override_texts(values) == (
        "train.epochs=3",
        "data.noise_mm=5",
        "backbone.weights=a b.pth",
        "train.clip_norm=null",
    )
    assert override_texts({"backbone.weights": Path("2026-11-29")}) == ('backbone.weights="2026-11-29"',)
    assert override_texts(None) == ()
