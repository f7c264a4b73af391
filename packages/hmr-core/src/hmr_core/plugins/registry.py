"""The installed plugins and what they offer. Asking for a name that cannot be used says why and what to do."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import click

from hmr_core.errors import UsageError, did_you_mean
from hmr_core.plugins.discovery import CATCH, GROUP, EntryPointLike, Plugin, Status, cause, load_plugins
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.specs import (
    BackboneFamily,
    BackboneOffer,
    BackboneSpec,
    DatasetSpec,
    DetectorSpec,
    ModelSpec,
    PredictorSpec,
    SolverSpec,
    Spec,
)
from hmr_core.shell import command_line

S = TypeVar("S", bound=Spec)


@dataclass(frozen=True)
class PluginStatus:
    """A plugin as `hmr plugins` shows it. name: the entry point's. reason: why it is not ok, else empty.

    traceback: of what it raised, if it did.
    A clashing plugin's other names work; a broken plugin offers only what it could give.
    """

    name: str
    distribution: str
    version: str
    status: Status
    reason: str
    traceback: str = ""
    models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    solvers: tuple[str, ...] = ()
    detectors: tuple[str, ...] = ()
    predictors: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the plugin works and all that it offers can be used."""
        return self.status == "ok"


@dataclass(frozen=True)
class HookFailure:
    """A plugin whose hook raised, and what it raised."""

    plugin: str
    hook: str
    error: BaseException

    def __str__(self) -> str:
        return f'plugin "{self.plugin}": {self.hook} raised {cause(self.error)}'


@dataclass(frozen=True)
class _Offers(Generic[S]):
    """All specs of one kind that plugins offer, by name; a name with several plugins is a clash."""

    kind: str
    by_name: dict[str, list[tuple[Plugin, S]]]

    def usable(self) -> dict[str, S]:
        return {name: offers[0][1] for name, offers in sorted(self.by_name.items()) if len(offers) == 1}

    def names_of(self, plugin: Plugin) -> tuple[str, ...]:
        return tuple(sorted(name for name, offers in self.by_name.items() if any(p is plugin for p, _ in offers)))


class Registry:
    """What is installed. Plugins are loaded when it is made; what they offer is asked for at the first question."""

    def __init__(self, plugins: list[Plugin]) -> None:
        self._plugins = plugins

    @property
    def plugins(self) -> list[PluginStatus]:
        """List every plugin, core first: those that work, and those that do not, with the reason."""
        models, datasets, solvers = self._models, self._datasets, self._solvers
        detectors, predictors, backbones = self._detectors, self._predictors, self._backbones
        return [
            PluginStatus(
                name=plugin.name,
                distribution=plugin.distribution,
                version=plugin.version,
                status=plugin.status,
                reason="; ".join(plugin.problems),
                traceback=plugin.traceback,
                models=models.names_of(plugin),
                datasets=datasets.names_of(plugin),
                solvers=solvers.names_of(plugin),
                detectors=detectors.names_of(plugin),
                predictors=predictors.names_of(plugin),
                backbones=backbones.names_of(plugin),
            )
            for plugin in self._plugins
        ]

    def models(self) -> dict[str, ModelSpec]:
        """List the usable models by name."""
        return self._models.usable()

    def datasets(self) -> dict[str, DatasetSpec]:
        """List the usable data sets by name."""
        return self._datasets.usable()

    def solvers(self) -> dict[str, SolverSpec]:
        """List the usable solvers by name."""
        return self._solvers.usable()

    def detectors(self) -> dict[str, DetectorSpec]:
        """List the usable detectors by name."""
        return self._detectors.usable()

    def predictors(self) -> dict[str, PredictorSpec]:
        """List the usable predictors by name."""
        return self._predictors.usable()

    def backbones(self) -> dict[str, BackboneOffer]:
        """List the usable backbones and families of them by name."""
        return self._backbones.usable()

    def model(self, name: str) -> ModelSpec:
        """Find the model of this name; UsageError says why there is none: misspelt, not installed, broken, clashing."""
        return self._use(self._models, name)

    def dataset(self, name: str) -> DatasetSpec:
        """Find the data set of this name; UsageError as for `model`."""
        return self._use(self._datasets, name)

    def solver(self, name: str) -> SolverSpec:
        """Find the solver of this name; UsageError as for `model`."""
        return self._use(self._solvers, name)

    def detector(self, name: str) -> DetectorSpec:
        """Find the detector of this name; UsageError as for `model`."""
        return self._use(self._detectors, name)

    def predictor(self, name: str) -> PredictorSpec:
        """Find the predictor of this name; UsageError as for `model`."""
        return self._use(self._predictors, name)

    def backbone(self, name: str) -> BackboneSpec:
        """Find the backbone of this name, or a family's member; UsageError as for `model`."""
        family, slash, _ = name.partition("/")
        offer = self._use(self._backbones, f"{family}{slash}")
        if isinstance(offer, BackboneSpec):
            return offer
        assert isinstance(offer, BackboneFamily)
        return offer.member(name)

    def provider(self, spec: Spec) -> str:
        """Name the plugin that offers a usable spec."""
        return self._offering(spec).name

    def distribution(self, spec: Spec) -> str:
        """Name the package that a usable spec is installed with."""
        return self._offering(spec).distribution

    def _offering(self, spec: Spec) -> Plugin:
        kinds: dict[type, _Offers[Any]] = {
            ModelSpec: self._models,
            DatasetSpec: self._datasets,
            SolverSpec: self._solvers,
            DetectorSpec: self._detectors,
            PredictorSpec: self._predictors,
            BackboneSpec: self._backbones,
            BackboneFamily: self._backbones,
        }
        by_name = kinds[type(spec)].by_name
        name = spec.name if spec.name in by_name else f"{spec.name.partition('/')[0]}/"  # a family's member
        plugin: Plugin = by_name[name][0][0]
        return plugin

    def add_commands(self, cli: click.Group, *, reserved: Collection[str] = ()) -> None:
        """Add the plugins' subcommands to a group; names that are reserved or in the group are refused.

        A plugin whose hook raises adds nothing. A name that two plugins add is a command that says so when it runs.
        """
        added: dict[str, list[tuple[Plugin, click.Command]]] = {}
        for plugin in self._with_hook("hmr_commands"):
            own = click.Group(cli.name)
            try:
                plugin.call("hmr_commands", cli=own)
            except CATCH as error:
                plugin.fail(f"hmr_commands raised {cause(error)}")
                continue
            for name, command in own.commands.items():
                if name in reserved or name in cli.commands:
                    plugin.fail(f'its command "{name}" is left out: hmr has a command of this name', "clashing")
                else:
                    added.setdefault(name, []).append((plugin, command))
        for name, offers in added.items():
            if len(offers) > 1:
                self._mark_clash("command", name, [plugin for plugin, _ in offers])
                cli.add_command(_clashing_command(name, self._clash_text("command", name, [p for p, _ in offers])))
            else:
                cli.add_command(offers[0][1], name)

    def notify(self, run: object, event: object) -> list[HookFailure]:
        """Tell every plugin of an event of a run, one by one; a plugin that raises stops neither run nor the others."""
        failures = []
        for plugin in self._with_hook("hmr_on_event"):
            try:
                plugin.call("hmr_on_event", run=run, event=event)
            except CATCH as error:
                failures.append(HookFailure(plugin.name, "hmr_on_event", error))
        return failures

    @cached_property
    def _models(self) -> _Offers[ModelSpec]:
        return self._collect("model", "hmr_models", ModelSpec)

    @cached_property
    def _datasets(self) -> _Offers[DatasetSpec]:
        return self._collect("dataset", "hmr_datasets", DatasetSpec)

    @cached_property
    def _solvers(self) -> _Offers[SolverSpec]:
        return self._collect("solver", "hmr_solvers", SolverSpec)

    @cached_property
    def _detectors(self) -> _Offers[DetectorSpec]:
        return self._collect("detector", "hmr_detectors", DetectorSpec)

    @cached_property
    def _predictors(self) -> _Offers[PredictorSpec]:
        return self._collect("predictor", "hmr_predictors", PredictorSpec)

    @cached_property
    def _backbones(self) -> _Offers[BackboneOffer]:
        return self._collect("backbone", "hmr_backbones", BackboneOffer)

    def _with_hook(self, hook: str) -> list[Plugin]:
        return [plugin for plugin in self._plugins if hook in plugin.hooks]

    def _collect(self, kind: str, hook: str, spec_type: type[S]) -> _Offers[S]:
        by_name: dict[str, list[tuple[Plugin, S]]] = {}
        for plugin in self._with_hook(hook):
            try:
                returned = plugin.call(hook)
                specs = _checked(returned, hook, spec_type)
            except CATCH as error:
                plugin.fail(str(error) if isinstance(error, _NotSpecsError) else f"{hook} raised {cause(error)}")
                continue
            for spec in specs:
                by_name.setdefault(spec.name, []).append((plugin, spec))
        for name, offers in by_name.items():
            if len(offers) > 1:
                self._mark_clash(kind, name, [plugin for plugin, _ in offers])
        return _Offers(kind, by_name)

    def _mark_clash(self, kind: str, name: str, plugins: list[Plugin]) -> None:
        for plugin in plugins:
            others = " and ".join(str(other) for other in plugins if other is not plugin)
            plugin.fail(f'{kind} "{name}" is offered by {others} too', "clashing")

    def _clash_text(self, kind: str, name: str, plugins: list[Plugin]) -> str:
        """Who clashes, and the two ways to choose. HMR_PLUGINS leaves out what it does not name, so all are named."""
        rivals = plugins[1:]
        keep = [plugin for plugin in self._plugins if plugin.status in ("ok", "clashing") and plugin not in rivals]
        keep = [plugin for plugin in keep if not plugin.is_core] or keep
        ambiguous = any(rival.name == plugin.name for rival in rivals for plugin in keep)
        chosen = [plugin.distribution if ambiguous else plugin.name for plugin in keep]
        return (
            f'{kind} "{name}" is offered by {" and by ".join(str(plugin) for plugin in plugins)}. '
            f"Uninstall one ({command_line('pip uninstall', plugins[-1].distribution)}) "
            f"or name the plugins to use (HMR_PLUGINS={','.join(chosen)})"
        )

    def _use(self, offers: _Offers[S], name: str) -> S:
        kind = offers.kind
        found = offers.by_name.get(name, [])
        if len(found) > 1:
            raise UsageError(self._clash_text(kind, name, [plugin for plugin, _ in found]))
        if found:
            return found[0][1]
        known = KNOWN[kind].get(name)
        distribution = known.distribution if known else ""
        for plugin in self._plugins:
            if name != plugin.name and (not distribution or distribution != plugin.distribution):
                continue
            if plugin.status == "left out":
                raise UsageError(f'{kind} "{name}" is left out: {"; ".join(plugin.problems)}. Add {plugin.name} to it')
            if plugin.status == "broken":
                reason = "; ".join(plugin.problems)
                raise UsageError(
                    f'{kind} "{name}" cannot be used, because {plugin} is broken: {reason}. See: hmr plugins'
                )
        if known:
            raise UsageError(f'{kind} "{name}" is not installed: {command_line("pip install", distribution)}')
        usable = offers.usable()
        broken = [plugin.name for plugin in self._plugins if plugin.status == "broken"]
        raise UsageError(
            f'unknown {kind} "{name}".{did_you_mean(name, [*usable, *KNOWN[kind]])}'
            f" Installed: {', '.join(usable) or 'none'}."
            + (f" Broken plugins: {', '.join(broken)} (see: hmr plugins)." if broken else "")
            + f" List them: hmr {kind}s"
        )


class _NotSpecsError(Exception):
    """A hook returned something else than a list of specs."""


def _checked(returned: object, hook: str, spec_type: type[S]) -> list[S]:
    wanted = f"a list of {spec_type.__name__}"
    if not isinstance(returned, list | tuple):
        raise _NotSpecsError(f"{hook} returned {_a(returned)}, not {wanted}")
    seen = set()
    specs: list[S] = []
    for spec in returned:
        if not isinstance(spec, spec_type):
            raise _NotSpecsError(f"{hook} returned a list with {_a(spec)} in it, not {wanted}")
        if not isinstance(spec.name, str) or not spec.name or spec.name != "".join(spec.name.split()):
            raise _NotSpecsError(f"{hook} returned a {spec_type.__name__} with the name {spec.name!r}, not a word")
        if spec.name in seen:
            raise _NotSpecsError(f'{hook} returned two {spec_type.__name__}s with the name "{spec.name}"')
        seen.add(spec.name)
        specs.append(spec)
    return specs


def _a(thing: object) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"


def _clashing_command(name: str, text: str) -> click.Command:
    def run() -> None:
        raise UsageError(text)

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=run, short_help="offered by several plugins", context_settings=settings)


def discover(
    entry_points: Iterable[EntryPointLike] | None = None, environ: Mapping[str, str] | None = None
) -> Registry:
    """Load the plugins among the entry points (by default the installed ones of the group `hmr`). Never raises.

    environ: where HMR_PLUGINS is read (by default the process's own environment).
    """
    if entry_points is None:
        from importlib.metadata import entry_points as installed

        entry_points = list(installed(group=GROUP))
    return Registry(load_plugins(entry_points, os.environ if environ is None else environ))
