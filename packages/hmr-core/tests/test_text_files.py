"""Text is read and written in UTF-8, whatever the locale. Ruff's rule of it sees only what is plainly a path."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = [
    *sorted(ROOT.glob("packages/*/src/**/*.py")),
    *sorted(ROOT.glob("examples/*/src/**/*.py")),
    *sorted(ROOT.glob("tools/**/*.py")),
]


def in_the_locale_s_encoding(source: str) -> list[int]:
    """The lines of a program that read or write text, or start a process to do so, and do not say how."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or "encoding" in (given := {keyword.arg for keyword in node.keywords}):
            continue
        name = ast.unparse(node.func)
        if name.endswith((".read_text", ".write_text")) or (name.startswith("subprocess.") and "text" in given):
            found.append(node.lineno)
        elif name in ("open", "os.fdopen") or (
            name.endswith(".open") and name not in ("os.open", "spec.open", "dataset.open", "archive.open")
        ):
            modes = [
                one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)
            ]
            if not any("b" in mode for mode in modes):
                found.append(node.lineno)
    return found


def test_text_is_read_and_written_in_utf_8() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in SOURCES
        for line in in_the_locale_s_encoding(file.read_text(encoding="utf-8"))
    ]
    assert len(SOURCES) > 100
    assert not found, f"say encoding=: {', '.join(found)}"


@pytest.mark.parametrize(
    "source",
    [
        "path.read_text()",
        "(folder / 'x').write_text(text)",
        "open(path)",
        "path.open('a')",
        "os.fdopen(descriptor, 'w')",
        "subprocess.run(command, text=True)",
    ],
)
def test_a_locale_s_encoding_is_seen(source: str) -> None:
    assert in_the_locale_s_encoding(source) == [1]


@pytest.mark.parametrize(
    "source",
    ["path.read_text(encoding='utf-8')", "path.open('rb')", "os.open(path, flags)", "write_text(path, text)"],
)
def test_what_says_its_encoding_or_has_none_is_let_be(source: str) -> None:
    assert in_the_locale_s_encoding(source) == []
