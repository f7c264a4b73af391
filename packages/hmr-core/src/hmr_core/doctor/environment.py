"""What is installed: the packages that hmr needs, and the optional ones."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib import import_module, metadata
from importlib.util import find_spec

from hmr_core.doctor.finding import Finding
from hmr_core.errors import Option
from hmr_core.shell import command_line, flag

SECTION = "versions"

NEEDED = {
    "numpy": "numpy",
    "torch": "torch",
    "cv2": "opencv-python",
    "h5py": "h5py",
    "pydantic": "pydantic",
    "safetensors": "safetensors",
    "jaxtyping": "jaxtyping",
    "pluggy": "pluggy",
    "click": "click",
    "rich": "rich",
}
"""The modules that hmr-core needs, and the packages that they come from."""

OPTIONAL = {
    "tensorboard": (
        "tensorboard",
        command_line("hmr train", Option("tensorboard")),
        'pip install "hmr-core[tensorboard]"',
    ),
    "wandb": (
        "wandb",
        command_line("hmr train", Option("wandb")),
        'pip install "hmr-core[wandb]"',
    ),
    "plotly": (
        "plotly",
        command_line("hmr compare", Option("html")),
        'pip install "hmr-core[report]"',
    ),
    "optuna": ("optuna", "hmr sweep", 'pip install "hmr-core[sweep]"'),
    "manotorch": (
        "manotorch.manolayer",
        flag(Option("hand_layer", "manotorch")),
        "pip install git+https://github.com/lixiny/manotorch (GPL; asks for chumpy and MANO's own code)",
    ),
    "oikit": (
        "oikit.oi_image",
        command_line("hmr pack oakink", Option("reader", "oikit")),
        "git clone https://github.com/oakink/OakInk, then pip install ./OakInk (asks for pytorch3d)",
    ),
}
"""What is of use and not needed: the module that is used, what for, and how to get it."""


def versions() -> Iterator[Finding]:
    """Python, hmr's own packages, and whether each package that is needed can be imported."""
    installed = {d.name: d.version for d in metadata.distributions() if d.name}
    own = ", ".join(f"{name} {installed[name]}" for name in sorted(installed) if name.startswith("hmr-"))
    yield Finding(
        section=SECTION,
        level="ok",
        text=f"Python {platform.python_version()} on {platform.system()} {platform.machine()}; {own or 'hmr-core'}",
    )
    working = []
    for module, package in NEEDED.items():
        try:
            found = import_module(module)
        except Exception as error:  # a broken binary fails in many ways
            yield Finding(
                section=SECTION,
                level="wrong",
                text=f"{module} cannot be imported ({_reason(error)})",
                remedy=command_line("pip install", Option("force_reinstall"), package),
            )
        else:
            # Its metadata first: reading a module's own __version__ is deprecated by some.
            working.append(f"{package} {installed.get(package) or getattr(found, '__version__', '')}".strip())
    yield Finding(section=SECTION, level="ok", text=", ".join(working))


def optional() -> Iterator[Finding]:
    """Whether the optional packages are there and can be imported."""
    for name, (module, use, install) in OPTIONAL.items():
        found = find_spec(name)
        if found is None:
            text = f"{name} is not installed, which {use} needs"
            yield Finding(section=SECTION, level="note", text=text, remedy=install)
            continue
        if getattr(found, "origin", "") is None:  # Python takes any folder of that name for a package
            places = ", ".join(found.submodule_search_locations or ())
            text = f"{name} is not installed, which {use} needs; {places} is a folder of its name that is no package"
            yield Finding(section=SECTION, level="warning", text=text, remedy=install)
            continue
        try:
            import_module(module)
        except Exception as error:
            text = f"{name} is installed, but cannot be imported ({_reason(error)}): {use} does not work"
            yield Finding(section=SECTION, level="warning", text=text, remedy=install)
        else:
            yield Finding(section=SECTION, level="ok", text=f"{name} is installed: {use} works")


def _reason(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
