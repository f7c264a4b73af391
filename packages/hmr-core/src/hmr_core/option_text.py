"""An option's value as text: how typed text is read, and how a value is written so that it is read as the same."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

LISTS = (list, tuple, set, frozenset)


def read_value(annotation: Any, text: str) -> Any:
    """Read a text as the value of an option of a type; this does not check whether the type allows the value.

    A text option (a name, a path) takes the text as it was typed, or the content of a TOML string; so does each item of
    a list of texts. Any other option takes a TOML value, or the text itself where it is no TOML. `null` means no value;
    to a text option that must have a value it is a text like any other.
    """
    kinds = list(value_kinds(annotation))
    texts = [kind for kind in kinds if _is_text(kind)]
    if text == "null" and (NoneType in kinds or not texts):
        return None
    value = _toml(text)
    if any(_lists_texts(kind) for kind in kinds) and text.startswith("[") and text.endswith("]"):
        if _are_texts(value):
            return value
        # A shell takes the quotes of ["a", "b"] away.
        return [_as_text(item.strip()) for item in text[1:-1].split(",") if item.strip()]
    others = tuple(kind for kind in kinds if kind not in texts and kind is not NoneType)
    if not texts or (others and not isinstance(value, str) and _allows(Union[others], value)):  # noqa: UP007  # of types known only here
        return value
    return _as_text(text)


def value_text(value: Any) -> str:
    """Write a value as an override `key=value` has it: `read_value` reads it as the same, for any type."""
    if value is None:
        return "null"
    if isinstance(value, PurePath):
        value = str(value)
    if isinstance(value, str):
        bare = value not in ("", "null") and value == value.strip() and _toml(value) == value
        return value if bare else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)


def override_texts(values: Mapping[str, object] | None) -> tuple[str, ...]:
    """Overrides of options as the command line has them, `key=value`, from a mapping as Python has them."""
    return tuple(f"{key}={value_text(value)}" for key, value in (values or {}).items())


def json_text(values: Any) -> str:
    """Write plain values, such as a TOML file's, as JSON; a date or time becomes an object, which no option takes."""
    return json.dumps(values, default=lambda value: {"date or time": str(value)})


def value_kinds(annotation: Any) -> Iterator[Any]:
    """Go through the types of a union one by one, and of a Literal its values."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from value_kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for kind in get_args(annotation):
            yield from value_kinds(kind)
    elif origin is Literal:
        yield from (Literal[value] for value in get_args(annotation))
    else:
        yield NoneType if annotation is None else annotation


def _is_text(kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return isinstance(get_args(kind)[0], str)
    return isinstance(kind, type) and issubclass(kind, (str, PurePath))


def _lists_texts(kind: Any) -> bool:
    items = [item for item in get_args(kind) if item is not Ellipsis]
    return get_origin(kind) in LISTS and all(_is_text(of) for item in items for of in value_kinds(item))


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _toml(text: str) -> Any:
    """A TOML value, or the text where it is none."""
    try:
        # Within a table on one line there is no comment, which would hide what comes after a "#".
        read = tomllib.loads(f"table = {{ value = {text} }}")["table"]
    except (ValueError, RecursionError):  # ValueError: also of an integer of thousands of digits
        return text
    return read["value"] if list(read) == ["value"] else text


def _as_text(text: str) -> str:
    """The text as it is, or what is within it where it is a string in TOML's quotes."""
    value = _toml(text)
    return value if isinstance(value, str) else text


def _allows(kind: Any, value: Any) -> bool:
    try:
        TypeAdapter(kind).validate_json(json_text(value), strict=True)
    except ValidationError:
        return False
    return True
