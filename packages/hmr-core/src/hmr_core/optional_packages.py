"""Packages that not everybody needs: whether they are there, and are what their names say, before work begins."""

from __future__ import annotations

from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec

from hmr_core.errors import HmrError, Option
from hmr_core.shell import command_line


def require_package(name: str, title: str, install: str, *, module: str = "", has: str, package: str = "") -> None:
    """HmrError with the command that installs a package where it is not there, or cannot be imported.

    A folder or file of its name in the working folder may hide it, or stand for it: so its module is asked for what is
    needed of it.
    title: what people call it, with what it is for. module: that is imported; by default the package. has: a name
    that it must have. package: what pip calls it; by default its name.
    """
    found = require_there(name, title, install)
    try:
        broken = "" if hasattr(import_module(module or name), has) else f"it has no {has}"
    except Exception as error:  # a broken binary fails in many ways
        broken = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    if broken:
        raise not_whole(package or name, title, found, broken)


def require_there(name: str, title: str, install: str) -> ModuleSpec | None:
    """What Python finds by a package's name, not imported; HmrError with what installs it where there is nothing."""
    try:
        found = find_spec(name)
    except ValueError:  # it was imported by hand, and does not say where from
        return None
    if found is None:
        raise HmrError(f"{title} is not installed. Run: {install}")
    return found


def not_whole(package: str, title: str, found: ModuleSpec | None, reason: str) -> HmrError:
    """The error of a package that is there and is no good. found: what Python finds. reason: a clause."""
    places = [getattr(found, "origin", None), *(getattr(found, "submodule_search_locations", None) or ())]
    place = next((str(each) for each in places if each), "somewhere")
    return HmrError(
        f"{title} is installed, but is of no use ({reason}): Python finds it at {place}. It is damaged, or something "
        f"else of that name is found first. Move that away, or run: "
        f"{command_line('pip install', Option('force_reinstall'), package)}"
    )
