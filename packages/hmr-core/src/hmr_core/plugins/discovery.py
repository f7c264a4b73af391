"""Find plugins: every entry point of the group `hmr` is loaded and checked, and none can stop the others."""

from __future__ import annotations

import inspect
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

import pluggy

from hmr_core.errors import did_you_mean
from hmr_core.plugins import hookspecs

GROUP = "hmr"
"""The group of entry points, and pluggy's project name."""

CORE = "hmr-core"
"""Our own distribution."""

HOOKS = tuple(name for name in vars(hookspecs) if name.startswith("hmr_"))
"""The names of the hooks, in the order of `hookspecs`."""

Status = Literal["ok", "broken", "clashing", "left out", "not found"]


@runtime_checkable
class Dist(Protocol):
    """What is read of an installed distribution."""

    @property
    def name(self) -> str:
        """The distribution's name."""

    @property
    def version(self) -> str:
        """Its version."""


@runtime_checkable
class EntryPointLike(Protocol):
    """What is read of an entry point; `importlib.metadata.EntryPoint` is one."""

    @property
    def name(self) -> str:
        """The plugin's name."""

    @property
    def dist(self) -> Dist | None:
        """The distribution that declares it."""

    def load(self) -> object:
        """Import and return the plugin."""


@dataclass(eq=False)
class Plugin:
    """A plugin while it is being loaded and asked: what is wrong with it is collected in `problems`."""

    name: str
    distribution: str
    version: str
    hooks: dict[str, pluggy.HookImpl] = field(default_factory=dict)
    status: Status = "ok"
    problems: list[str] = field(default_factory=list)
    traceback: str = ""

    def __str__(self) -> str:
        installed = f"{self.distribution} {self.version}".strip()
        return f'plugin "{self.name}"' + (f" ({installed})" if installed else "")

    @property
    def is_core(self) -> bool:
        """Whether this is hmr-core itself, which HMR_PLUGINS cannot leave out."""
        return _normal(self.distribution) == CORE

    def fail(self, problem: str, status: Status = "broken") -> None:
        """Note that the plugin does not work, with the traceback where an exception is being handled.

        What is broken stays broken, whatever else is wrong with it.
        """
        if self.status != "broken":
            self.status = status
        self.problems.append(problem)
        if sys.exc_info()[1] is not None:
            self.traceback = traceback.format_exc()

    def call(self, hook: str, **arguments: object) -> object:
        """Call the plugin's implementation of a hook with those of the arguments that it takes.

        Whatever it raises goes through; see `CATCH`.
        """
        implementation = self.hooks[hook]
        return implementation.function(*(arguments[name] for name in implementation.argnames))


CATCH = (Exception, SystemExit)
"""What a plugin may raise without ending the command: all but Ctrl-C. `sys.exit` at import is one plugin's fault."""


def cause(error: BaseException) -> str:
    """Word an exception as one line: its type and its text."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def load_plugins(entry_points: Iterable[EntryPointLike], environ: Mapping[str, str]) -> list[Plugin]:
    """Load every plugin, core first and then by name; a plugin that fails is in the list too, with the reason.

    `HMR_PLUGINS=a,b` in the environment keeps core and the named entry points or distributions; empty keeps all.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    wanted = [_normal(name) for name in environ.get("HMR_PLUGINS", "").split(",") if name.strip()]
    plugins = []
    found = set()
    for entry_point in sorted(entry_points, key=_order):
        plugin = _describe(entry_point)
        names = {_normal(plugin.name), _normal(plugin.distribution)}
        found |= names
        plugins.append(plugin)
        if wanted and not plugin.is_core and not names & set(wanted):
            plugin.fail(f"HMR_PLUGINS={environ['HMR_PLUGINS']} does not name it", "left out")
            continue
        try:
            _load(plugin, entry_point, manager)
        except CATCH as error:
            plugin.fail(f"cannot be read: {cause(error)}")
    for name in wanted:
        if name not in found:
            missing = Plugin(name, "", "")
            installed = [plugin.name for plugin in plugins]
            missing.fail(
                f"HMR_PLUGINS names it, but no plugin or distribution of this name is installed."
                f"{did_you_mean(name, installed)} Installed: {', '.join(installed) or 'none'}",
                "not found",
            )
            plugins.append(missing)
    return plugins


def _describe(entry_point: EntryPointLike) -> Plugin:
    dist = entry_point.dist
    return Plugin(entry_point.name, dist.name if dist else "", dist.version if dist else "")


def _order(entry_point: EntryPointLike) -> tuple[bool, str, str]:
    distribution = entry_point.dist.name if entry_point.dist else ""
    return _normal(distribution) != CORE, entry_point.name, distribution


def _normal(name: str) -> str:
    """A distribution's name as packaging compares it: hmr_rle, HMR.rle and hmr-rle are the same."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _load(plugin: Plugin, entry_point: EntryPointLike, manager: pluggy.PluginManager) -> None:
    try:
        module = entry_point.load()
    except CATCH as error:
        plugin.fail(f"cannot be imported: {cause(error)}")
        return
    same = manager.get_name(module)
    if same is not None:
        plugin.fail(f"is the same module as plugin {same}: an entry point is declared twice")
        return
    marked = _marked_hooks(module, manager)
    unknown = [name for name in marked if name not in HOOKS]
    if unknown:
        plugin.fail(f'there is no hook "{unknown[0]}".{did_you_mean(unknown[0], HOOKS)} Hooks: {", ".join(HOOKS)}')
        return
    if not marked:
        plugin.fail(_no_hook(module))
        return
    try:
        manager.register(module, f'"{plugin.name}" of {plugin.distribution}')
    except pluggy.PluginValidationError as error:
        plugin.fail(_wrong_signature(" ".join(str(error).split()), marked))
        return
    for caller in manager.get_hookcallers(module) or []:
        for implementation in caller.get_hookimpls():
            if implementation.plugin is not module:
                continue
            if implementation.hookwrapper or implementation.wrapper:
                plugin.fail(f"{caller.name} is a wrapper; plugins are called one by one, so there is nothing to wrap")
            plugin.hooks[caller.name] = implementation
    if plugin.problems:
        plugin.hooks.clear()


def _marked_hooks(module: object, manager: pluggy.PluginManager) -> list[str]:
    """The names of the hooks that the module's functions marked with `hookimpl` implement."""
    marked = []
    for name in dir(module):
        options = manager.parse_hookimpl_opts(module, name)
        if options is not None:
            marked.append(options.get("specname") or name)
    return marked


def _no_hook(module: object) -> str:
    unmarked = [name for name in dir(module) if name.startswith("hmr_") and inspect.isroutine(getattr(module, name))]
    if unmarked:
        return f"implements no hook: {unmarked[0]} lacks @hookimpl (from hmr_core.plugins import hookimpl)"
    return f"implements no hook: mark at least one function with @hookimpl. Hooks: {', '.join(HOOKS)}"


def _wrong_signature(text: str, marked: list[str]) -> str:
    hook = next((name for name in marked if f"'{name}'" in text), "")
    right = f"; the hook is {hook}{inspect.signature(getattr(hookspecs, hook))}" if hook else ""
    return f"has a hook with a wrong signature: {text}{right}"
