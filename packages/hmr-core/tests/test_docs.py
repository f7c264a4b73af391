"""What the documentation tells a reader to type can be typed: commands and their options, make targets, links."""

from __future__ import annotations

import importlib
import re
import shlex
from contextlib import ExitStack
from pathlib import Path

import click
import pytest

from hmr_core.cli.main import cli
from hmr_core.plugins.registry import discover

ROOT = Path(__file__).parents[3]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md"), *ROOT.glob("*/*/README.md")])


def command_lines(text: str) -> list[str]:
    """The lines of a page's code blocks, without comments."""
    blocks = re.findall(r"^```(?:sh|shell|console)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0].strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def parse(arguments: list[str]) -> None:
    """Parse a command line down to its last subcommand, and run nothing; click's error for one that is not valid."""
    command, name = cli, "hmr"
    with ExitStack() as stack:
        context = cli.make_context(name, arguments, obj=discover())
        while isinstance(command, click.Group):
            stack.enter_context(context)
            left = [*context._protected_args, *context.args]
            if not left:
                break  # a group that runs without a subcommand
            found, command, rest = command.resolve_command(context, left)
            assert command is not None
            context = command.make_context(found, rest, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_parse(page: Path) -> None:
    for line in command_lines(page.read_text()):
        match = re.match(r"(?:[A-Z_]+=\S+ )*hmr (.*)", line)  # variables may be set for this command alone
        if match:
            try:
                parse(shlex.split(match[1]))
            except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
                continue  # --help and the like
            except click.ClickException as error:
                pytest.fail(f"{page.name}: {line}: {error.format_message()}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_are_there(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = [words[1] for line in command_lines(page.read_text()) if (words := line.split())[0] == "make"]
    assert set(named) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    home, _, attribute = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return bool(home) and hasattr(importlib.import_module(home), attribute)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_of_the_code_are_there(page: Path) -> None:
    named = set(re.findall(r"\bhmr_core(?:\.\w+)+", page.read_text()))
    assert [name for name in sorted(named) if not is_there(name)] == []


def test_a_name_that_is_not_there_is_seen() -> None:
    assert is_there("hmr_core.errors.HmrError")
    assert not is_there("hmr_core.errors.Nothing")


def test_a_command_that_is_not_there_is_seen() -> None:
    assert command_lines("```\nhmr train x --splitt sp0  # comment\n```") == ["hmr train x --splitt sp0"]
    with pytest.raises(click.ClickException, match="No such option"):
        parse(["train", "x", "--splitt", "sp0"])


def test_the_readme_begins_with_a_photo_and_has_the_two_commands() -> None:
    lines = command_lines((ROOT / "README.md").read_text())
    assert lines[1:3] == ["hmr mediapipe fetch", "hmr predict mediapipe photo.jpg"]
    assert [line for line in lines if line.startswith("make")][:2] == ["make demo", "make test"]
