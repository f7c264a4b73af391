"""Errors word their remedies for whoever asked."""

from __future__ import annotations

import pickle

import pytest

from hmr_core.cli.main import main
from hmr_core.errors import HmrError, Option
from hmr_core.shell import command_line, flag

ERROR = HmrError(
    "The batch is too large.", "Use a smaller ", Option("batch_size"), ", such as ", Option("batch_size", 2)
)


def test_an_error_says_what_to_do_as_python_has_it() -> None:
    assert str(ERROR) == "The batch is too large. Use a smaller batch_size, such as batch_size=2"
    assert str(HmrError("It is wrong.")) == "It is wrong."


def test_the_command_line_words_options_as_flags() -> None:
    assert ERROR.worded(flag) == "The batch is too large. Use a smaller --batch-size, such as --batch-size 2"


def test_an_error_gets_through_to_another_process_whole() -> None:
    assert pickle.loads(pickle.dumps(ERROR)).worded(flag) == ERROR.worded(flag)


def test_commands_take_options_as_flags() -> None:
    typed = command_line("hmr train", "rle", Option("resume", "a run"), Option("force", True))
    assert typed == "hmr train rle --resume 'a run' --force"


def test_main_prints_flags(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def raising(*args: object, **options: object) -> None:
        raise ERROR

    monkeypatch.setattr("hmr_core.cli.main.cli.main", raising)
    assert main([]) == 1
    assert capsys.readouterr().err == f"error: {ERROR.worded(flag)}\n"
