"""How an option of a configuration is shown: its type with its bounds, its default, its value in each recipe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from hmr_core.option_text import value_text

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class ConfigOption(NamedTuple):
    """A key that `--set` takes. default: None where there is none, so that a recipe must give a value."""

    key: str
    type: str
    required: bool
    default: Any
    recipes: dict[str, Any]
    description: str


def describe(fields: Mapping[str, FieldInfo], recipes: Mapping[str, Mapping[str, Any]]) -> list[ConfigOption]:
    """The options by dotted key. recipes: of each recipe its whole content, by section, as plain values."""
    return [
        ConfigOption(
            key=key,
            type=type_text(field.annotation) + _bounds(field.metadata),
            required=field.is_required(),
            default=None if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            recipes={name: _value(content, key) for name, content in recipes.items()},
            description=field.description or "",
        )
        for key, field in fields.items()
    ]


def type_text(annotation: Any) -> str:
    """A type as its user would say it: `int`, `a or b`, `list of int`, `float or null`."""
    if annotation is None or annotation is NoneType:
        return "null"
    if isinstance(annotation, type) and issubclass(annotation, Path):
        return "path"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_text(arguments[0]) + _bounds(arguments[1:])
    if origin is Literal:
        return " or ".join(value_text(value) for value in arguments)
    if origin in (Union, UnionType):
        return " or ".join(type_text(argument) for argument in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"list of {type_text(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)}: {', '.join(type_text(argument) for argument in arguments)}"
    if origin in (list, set, frozenset):
        return f"list of {type_text(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def _bounds(metadata: Iterable[Any]) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<=", "multiple_of": "a multiple of"}
    found = [
        f"{text} {value_text(getattr(bound, name))}"
        for bound in metadata
        for name, text in signs.items()
        if getattr(bound, name, None) is not None
    ]
    return " " + ", ".join(found) if found else ""


def _plain(value: Any) -> Any:
    """A default as JSON has it: tuples are lists, paths are texts."""
    return json.loads(json.dumps(value, default=str))


def _value(content: Mapping[str, Any], key: str) -> Any:
    path = key.split(".")
    place: Any = content if path[0] in content and path[0] != "model" else content["model"]
    for part in path:
        place = place[part]
    return place
