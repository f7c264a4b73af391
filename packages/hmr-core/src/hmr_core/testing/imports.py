"""The rule that is the same for all that plugins offer: whoever lists it does not wait for torch."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Literal

from hmr_core.plugins.registry import Registry

Kind = Literal["model", "dataset", "solver", "detector", "predictor", "backbone"]


def check_import(kind: Kind, name: str, registry: Registry) -> None:
    """Neither the plugin's module nor its hook imports torch; seen in a process of its own.

    kind, name: what the plugin offers, as the registry has it. AssertionError says which of the two imports it.
    """
    plugin = registry.provider(getattr(registry, kind)(name))
    code = (
        "import sys\n"
        "from hmr_core.plugins.registry import discover\n"
        "registry = discover()\n"
        "print('module', 'torch' in sys.modules)\n"
        f"registry.{kind}s()\n"
        "print('specs', 'torch' in sys.modules)\n"
    )
    environ = {**os.environ, "HMR_PLUGINS": plugin, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=environ, check=False)
    if done.returncode:
        raise AssertionError(f'{kind} "{name}": its plugin does not load in a fresh process:\n{done.stderr}')
    if "module True" in done.stdout:
        raise AssertionError(
            f'{kind} "{name}": importing the module of plugin "{plugin}" imports torch. Every hmr command would '
            "then take seconds longer: import torch where the work is done only."
        )
    if "specs True" in done.stdout:
        raise AssertionError(
            f'{kind} "{name}": hmr_{kind}s() of plugin "{plugin}" imports torch. `hmr {kind}s` would then take seconds '
            "longer: keep what a spec holds in modules without torch, and import the rest where the work is done only."
        )
