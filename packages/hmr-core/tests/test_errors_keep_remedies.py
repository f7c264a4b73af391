"""An error that is raised anew with more to say keeps its remedy, so that the command line can word its options."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))


def flattened(source: str) -> list[int]:
    """The lines where a program makes an HmrError of the whole text of another one, and so loses its remedy."""
    handlers = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ExceptHandler)]
    return [call.lineno for handler in handlers if _catches_ours(handler) for call in _made_of(handler)]


def _catches_ours(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        isinstance(kind, ast.Name) and kind.id in ("HmrError", "UsageError", "NotFiniteError") for kind in caught
    )


def _made_of(handler: ast.ExceptHandler) -> list[ast.Call]:
    made = [node for node in ast.walk(handler) if isinstance(node, ast.Call) and ast.unparse(node.func) == "HmrError"]
    return [call for call in made if any(_is_text_of(node, handler.name) for node in ast.walk(call))]


def _is_text_of(node: ast.AST, name: str | None) -> bool:
    """Whether a node is str(error), or the error itself within an f-string."""
    if isinstance(node, ast.FormattedValue):
        return isinstance(node.value, ast.Name) and node.value.id == name
    return isinstance(node, ast.Call) and ast.unparse(node) == f"str({name})"


def test_no_error_loses_its_remedy() -> None:
    found = [f"{file.relative_to(ROOT)}:{line}" for file in SOURCES for line in flattened(file.read_text())]
    assert not found, f"raise HmrError(f'...{{error.message}}', *error.remedy) from error: {', '.join(found)}"


@pytest.mark.parametrize("made", ['HmrError(f"sample 1: {error}")', "HmrError(str(error))"])
def test_an_error_that_loses_its_remedy_is_seen(made: str) -> None:
    assert flattened(f"try:\n    f()\nexcept HmrError as error:\n    raise {made} from error\n") == [4]


def test_an_error_that_keeps_it_is_let_be() -> None:
    made = 'HmrError(f"sample 1: {error.message}", *error.remedy)'
    assert flattened(f"try:\n    f()\nexcept HmrError as error:\n    raise {made} from error\n") == []
    assert flattened('try:\n    f()\nexcept OSError as error:\n    raise HmrError(f"{error}") from error\n') == []
