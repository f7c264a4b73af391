"""The lowest versions that hmr allows of what it depends on are those that `make test-lowest` runs the tests with."""

from __future__ import annotations

import re
import tomllib
from itertools import chain
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[1]
NOT_RUN = {"torch", "timm"}
"""What `make test-lowest` has in the version of constraints.txt, and what it has not: `make test-timm` has that."""


def allowed() -> dict[str, set[str]]:
    """Of each dependency of each package, extras included, the lowest versions that are allowed."""
    found: dict[str, set[str]] = {}
    for path in chain((ROOT / "packages").glob("*/pyproject.toml"), (ROOT / "examples").glob("*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for requirement in chain(project["dependencies"], *project.get("optional-dependencies", {}).values()):
            match = re.fullmatch(r"([\w.-]+)>=([\w.]+)(,<[\w.]+)?", requirement)
            assert match, f"{path}: {requirement} does not begin with the lowest version"
            found.setdefault(match[1], set()).add(match[2])
    return {name: versions for name, versions in found.items() if not name.startswith("hmr-")}


def pinned(name: str) -> dict[str, str]:
    """The versions of a constraints file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_the_lowest_versions_are_those_that_the_tests_are_run_with() -> None:
    lowest, newest = pinned("constraints-lowest.txt"), pinned("constraints-timm.txt") | pinned("constraints.txt")
    assert len(allowed()) > 10
    for name, versions in allowed().items():
        assert name in newest, f"constraints.txt names no version of {name}"
        if name not in NOT_RUN:
            assert {Version(version) for version in versions} == {Version(lowest[name])}, name


def test_what_is_named_besides_comes_with_a_dependency() -> None:
    """A line that nothing needs any more would be kept for ever."""
    text = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8")
    own, _, besides = text.partition("# What these need besides")
    assert set(re.findall(r"^([\w.-]+)==", own, re.MULTILINE)) == set(allowed()) - NOT_RUN
    assert besides
