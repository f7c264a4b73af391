"""The page on containers is of this repository as it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/docker.md").read_text(encoding="utf-8")
(DOCKERFILE,) = re.findall(r"^```dockerfile\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_image_has_every_package_that_users_install() -> None:
    installed = set(re.findall(r"\./packages/([\w-]+)", DOCKERFILE))
    packages = {path.parent.name for path in ROOT.glob("packages/*/pyproject.toml")}
    assert installed == packages - {"hmr-timm"}  # the page says why
    assert "`hmr-timm` is left out" in PAGE


def test_the_image_is_made_of_files_that_are_there() -> None:
    copied = re.findall(r"^COPY (\S+)", DOCKERFILE, re.MULTILINE)
    assert copied
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_s_python_is_one_that_hmr_takes() -> None:
    (version,) = re.findall(r"^FROM python:3\.(\d+)-slim$", DOCKERFILE, re.MULTILINE)
    project = tomllib.loads((ROOT / "packages/hmr-core/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert int(version) >= int(project["requires-python"].removeprefix(">=3."))
