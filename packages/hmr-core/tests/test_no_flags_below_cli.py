"""No text below the command line names a flag: a notebook has none, and the command line words an error's options."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = [
    file
    for file in sorted(ROOT.glob("packages/*/src/**/*.py"))
    if file.parent.name != "cli" and file.name != "cli.py"  # a plugin's commands
]

FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")

OTHERS = {
    *("--always", "--dirty", "--abbrev", "--exclude", "--error-unmatch"),  # git
    *("--shm-size", "--ipc"),  # docker
    *("--force-reinstall", "--no-deps", "--only-binary", "--platform", "--implementation"),  # pip
    *("--python-version", "--abi", "--dest"),  # pip
    "--inplace",  # rsync
    "--install",  # wsl
}
"""Flags of other programs, which hmr runs or tells to run."""

MAKES_FLAGS = "packages/hmr-core/src/hmr_core/shell.py"
"""Where an option becomes a flag."""


def flags(source: str) -> list[str]:
    """The flags of hmr that a file's texts name, comments apart."""
    return [name for text in texts(ast.parse(source)) for name in FLAG.findall(text) if name not in OTHERS]


def texts(node: ast.AST) -> Iterator[str]:
    """The texts of a file, docstrings among them; what an f-string puts in is an "x"."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "x" for part in node.values)
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                yield from texts(part.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from texts(child)


@pytest.mark.parametrize("file", [str(file.relative_to(ROOT)) for file in SOURCES])
def test_no_text_below_the_command_line_names_a_flag(file: str) -> None:
    found = flags((ROOT / file).read_text(encoding="utf-8"))
    expected = 1 if file == MAKES_FLAGS else 0
    assert len(found) == expected, f"{file} names {', '.join(found)}: use errors.Option, and shell.command_line"


@pytest.mark.parametrize(
    "source",
    [
        '"""What --data takes."""',
        'HmrError(f"{path} is no pack. Give another --data.")',
        'f"--{name}"',
        'command_line("hmr pack", path, "--out")',
        '"`hmr train --resume=RUN`"',
    ],
)
def test_a_flag_is_seen(source: str) -> None:
    assert len(flags(source)) == 1


@pytest.mark.parametrize("source", ['"a -- b"', '"---a"', 'f"git {name} --always"', "1  # --data", 'Option("data")'])
def test_other_texts_are_let_be(source: str) -> None:
    assert flags(source) == []
