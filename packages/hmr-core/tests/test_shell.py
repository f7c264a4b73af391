"""Commands that hmr prints are commands, whatever a user's files are called."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hmr_core.errors import Option
from hmr_core.shell import changed_command, command_line, has_option, python_call

ROOT = Path(__file__).parents[3]
SOURCES = [*sorted(ROOT.glob("packages/*/src/**/*.py")), *sorted(ROOT.glob("examples/*/src/**/*.py"))]
GIVEN = "\0"
"""Where a text has something that is not known before it is printed."""

_WORDS = r"(?: [\w./=:+-]+)*"
_COMMAND = (
    "hmr (?:train|eval|predict|score|pack|synth|mano|ckpt|doctor|models|datasets|solvers|plugins)|pip (?:un)?install"
)
LOOSE = re.compile(rf"\b(?:{_COMMAND}){_WORDS}[ =]?{GIVEN}|(?<!\w)--[a-z][\w-]*[ =]{GIVEN}|\bexport [A-Z_]+={GIVEN}")
"""What a text has where a command, an option or a setting goes on with what was given."""


@pytest.mark.parametrize("word", ["my data/p.h5", "it's", "a;b", "$HOME", "[red]", "a\nb", "*", "ü", "", "~"])
def test_a_shell_takes_each_word_as_it_is(word: str) -> None:
    made = subprocess.run(["bash", "-c", command_line("printf '%s|'", word, "FILE")], capture_output=True, check=True)
    assert made.stdout.decode() == f"{word}|FILE|"


def test_what_needs_no_quotes_has_none() -> None:
    line = command_line("hmr train MODEL --data", Path("data/oakink.h5"), "--split", "sp0", "--set", "a.b=1")
    assert line == "hmr train MODEL --data data/oakink.h5 --split sp0 --set a.b=1"


def test_a_path_is_not_taken_for_an_option() -> None:
    assert command_line("hmr ckpt show", Path("-x/run")) == "hmr ckpt show ./-x/run"
    assert command_line("hmr eval", "--ckpt") == "hmr eval --ckpt"


def unquoted(source: str) -> list[int]:
    """The lines where a program puts something into a command, an option or a setting, but not by command_line."""
    return sorted({line for line, text in texts(ast.parse(source)) if LOOSE.search(text)})


def texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """The texts that a program puts together, with GIVEN for what is put in; none of what command_line is given."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "command_line":
        assert isinstance(node.args[0], ast.Constant | ast.Attribute), (
            f"line {node.lineno}: a command begins with what is known"
        )
        return
    if isinstance(node, ast.JoinedStr | ast.BinOp):
        yield node.lineno, _text(node)
    for child in ast.iter_child_nodes(node):
        yield from texts(child)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_text, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left) + _text(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return _text(node.left).replace("%s", GIVEN)
    return GIVEN


def test_no_printed_command_has_a_word_that_is_not_quoted() -> None:
    found = [f"{file.relative_to(ROOT)}:{line}" for file in SOURCES for line in unquoted(file.read_text())]
    assert len(SOURCES) > 100
    assert not found, f"put these together by hmr_core.shell.command_line: {', '.join(found)}"


@pytest.mark.parametrize(
    "source",
    [
        'f"run `hmr train {model} --resume RUN`"',
        'f"Pack it: hmr pack oakink --root OakInk --out {out}"',
        '(f"Pack it: hmr pack oakink "\nf"--root {root}")',
        '"hmr ckpt show " + str(path)',
        '"hmr ckpt show %s" % path',
        'f"give another, such as --out {folder}-2"',
        'f"--set {key}={value}"',
        'f"next: export HMR_HAND_MODEL={out}"',
    ],
)
def test_a_word_that_is_not_quoted_is_seen(source: str) -> None:
    assert unquoted(source) == [1]


@pytest.mark.parametrize(
    "source",
    [
        """f"`{command_line('hmr train', model)}` goes on\"""",
        'f"`hmr eval` leaves one in {folder}"',
        'f"see `hmr models`: {names}"',
        "command_line('export', f'HMR_HAND_MODEL={out}')",
    ],
)
def test_other_texts_are_let_be(source: str) -> None:
    assert unquoted(source) == []


def test_a_command_is_given_again_with_some_options_changed() -> None:
    before = "hmr eval small --ckpt 'my run' --subset=val --solver lm --out eval/x --json"
    changed = changed_command(before, Option("subset", "test"), Option("out", Path("-y")), Option("data", "a b.h5"))
    assert changed == ("hmr eval small --ckpt 'my run' --solver lm --json --subset test --out ./-y --data 'a b.h5'")
    assert [has_option(before, name) for name in ("subset", "out", "solver_ckpt", "outer")] == [
        True,
        True,
        False,
        False,
    ]


def test_a_call_is_recorded_with_all_that_was_given() -> None:
    call = python_call("hmr.train", "small", split="sp0", workers=0, out=Path("a b"), data=None, verify=False)
    assert call == f"hmr.train('small', split='sp0', workers=0, out={Path('a b')!r})"
