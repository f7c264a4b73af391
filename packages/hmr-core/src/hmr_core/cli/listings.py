"""`hmr models|datasets|solvers|...|plugins [NAME]`: what is there, its options, what is broken."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import click

from hmr_core.cli.config_options import ConfigOption, describe
from hmr_core.cli.main import current_registry
from hmr_core.cli.table import show_record, show_table
from hmr_core.errors import HmrError, unknown_name
from hmr_core.option_text import value_text
from hmr_core.plugins.known import KNOWN
from hmr_core.shell import command_line, flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hmr_core.plugins.registry import PluginStatus, Registry
    from hmr_core.plugins.specs import BackboneSpec, DetectorSpec, ModelSpec, PredictorSpec, SolverSpec

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("name", required=False)
@json_option
def models(name: str | None, as_json: bool) -> None:
    """List the models, or show one: its paper, its recipes, and every option that --set takes."""
    registry = current_registry()
    if name is not None:
        _one_model(registry, registry.model(name), as_json)
        return
    entries = [
        {
            "name": spec.name,
            "state": "installed",
            "plugin": registry.provider(spec),
            "consumes": spec.consumes,
            "recipes": list(spec.recipes),
            "summary": spec.summary,
        }
        for spec in registry.models().values()
    ]
    _list(registry, "model", entries, as_json, recipes=True)


@click.command()
@click.argument("name", required=False)
@json_option
def datasets(name: str | None, as_json: bool) -> None:
    """List the data sets that `hmr pack` can pack, or show one."""
    registry = current_registry()
    specs = registry.datasets() if name is None else {name: registry.dataset(name)}
    entries = [
        {
            "name": spec.name,
            "state": "installed",
            "plugin": registry.provider(spec),
            "summary": spec.summary,
            "pack": command_line("hmr pack", spec.name, "--root", "DIR", "--out", f"{spec.name}.h5"),
        }
        for spec in specs.values()
    ]
    if name is None:
        _list(registry, "dataset", entries, as_json)
    elif as_json:
        _print_json(entries[0])
    else:
        show_record(list(entries[0].items()))


@click.command()
@click.argument("name", required=False)
@json_option
def solvers(name: str | None, as_json: bool) -> None:
    """List the solvers, the ways from joints to a mesh, or show one with its options."""
    registry = current_registry()
    specs = registry.solvers() if name is None else {name: registry.solver(name)}
    entries: list[dict[str, Any]] = [
        {"name": spec.name, "state": "installed", "plugin": registry.provider(spec), "summary": spec.summary}
        for spec in specs.values()
    ]
    if name is None:
        _list(registry, "solver", entries, as_json)
        return
    spec = specs[name]
    options = _solver_options(spec)
    if as_json:
        shown = [{**option._asdict(), "protocols": option.recipes} for option in options]
        for option in shown:
            del option["recipes"]
        _print_json({**entries[0], "needs_weights": spec.needs_weights, "options": shown})
        return
    show_record([*entries[0].items(), ("weights", "needed (--solver-ckpt)" if spec.needs_weights else "none")])
    _show_options(options, "--solver-set", "under each --protocol")


@click.command()
@click.argument("name", required=False)
@json_option
def detectors(name: str | None, as_json: bool) -> None:
    """List the detectors, which find the hands of a picture, or show one with its options."""
    registry = current_registry()
    specs = registry.detectors() if name is None else {name: registry.detector(name)}
    _of_photos(registry, "detector", specs, name, as_json, "--detector-set")


@click.command()
@click.argument("name", required=False)
@json_option
def predictors(name: str | None, as_json: bool) -> None:
    """List the predictors, which need no training, or show one with its options."""
    registry = current_registry()
    specs = registry.predictors() if name is None else {name: registry.predictor(name)}
    _of_photos(registry, "predictor", specs, name, as_json, "--set")


@click.command()
@click.argument("name", required=False)
@json_option
def backbones(name: str | None, as_json: bool) -> None:
    """List the backbones, which models of images can begin with, or show one with its options and weights.

    `hmr train MODEL --set backbone.name=NAME` takes another than the recipe's.
    """
    registry = current_registry()
    if name is not None:
        _one_backbone(registry, registry.backbone(name), as_json)
        return
    entries = [
        {"name": spec.name, "state": "installed", "plugin": registry.provider(spec), "summary": spec.summary}
        for spec in registry.backbones().values()
    ]
    _list(registry, "backbone", entries, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def plugins(name: str | None, as_json: bool) -> None:
    """List the installed plugins with what is wrong with them, or show one with its traceback."""
    context = click.get_current_context().find_root()
    registry = current_registry()
    if isinstance(context.command, click.Group):
        context.command.list_commands(context)  # asks for the plugins' commands, since a clash of theirs counts, too
    found = registry.plugins
    if name is None:
        if as_json:
            _print_json([_plugin_json(plugin) for plugin in found])
        else:
            rows = [[p.name, _installed(p), p.status, _offers(p), p.reason] for p in found]
            show_table(["name", "package", "status", "offers", "reason"], rows)
        return
    chosen = [plugin for plugin in found if name in (plugin.name, plugin.distribution)]
    if not chosen:
        raise unknown_name("plugin", name, {plugin.name for plugin in found}, "List them: hmr plugins")
    if as_json:
        _print_json(_plugin_json(chosen[0]) if len(chosen) == 1 else [_plugin_json(plugin) for plugin in chosen])
        return
    for plugin in chosen:
        fields = ("name", plugin.name), ("package", _installed(plugin)), ("status", plugin.status)
        show_record([*fields, ("offers", _offers(plugin)), ("reason", plugin.reason)])
        if plugin.traceback:
            click.echo(f"\n{plugin.traceback.rstrip()}")


def _of_photos(
    registry: Registry,
    kind: str,
    specs: Mapping[str, DetectorSpec] | Mapping[str, PredictorSpec],
    name: str | None,
    as_json: bool,
    flag: str,
) -> None:
    """Detectors or predictors: all of them, or the named one with its options, which a flag sets."""
    from hmr_core.config import section_options

    entries: list[dict[str, Any]] = [
        {"name": spec.name, "state": "installed", "plugin": registry.provider(spec), "summary": spec.summary}
        for spec in specs.values()
    ]
    if name is None:
        _list(registry, kind, entries, as_json)
        return
    options = describe(section_options(specs[name].config), {})
    if as_json:
        shown = [option._asdict() for option in options]
        for option in shown:
            del option["recipes"]
        _print_json({**entries[0], "options": shown})
        return
    show_record(list(entries[0].items()))
    _show_options(options, flag)


def _one_model(registry: Registry, spec: ModelSpec, as_json: bool) -> None:
    from hmr_core.hand.joints import JOINT_NAMES
    from hmr_core.plugins.recipes import load_recipe
    from hmr_core.plugins.recipes import options as recipe_options

    recipes: dict[str, dict[str, Any]] = {}
    summaries: dict[str, str] = {}
    for recipe_name in spec.recipes:
        try:
            recipe = load_recipe(spec, recipe_name)
        except HmrError as error:
            summaries[recipe_name] = f"broken: {error.worded(flag)}"
        else:
            recipes[recipe_name] = recipe.model_dump(mode="json")
            summaries[recipe_name] = recipe.summary
    options = describe(recipe_options(spec), recipes)
    about = {
        "name": spec.name,
        "summary": spec.summary,
        "paper": spec.paper,
        "plugin": registry.provider(spec),
        "consumes": spec.consumes,
        "released": spec.released.file if spec.released is not None else "",
    }
    if as_json:
        needs = {"needs_hand": spec.needs_hand, "root_joint": spec.root_joint}
        rest = {"recipes": summaries, "published": spec.published, "options": [option._asdict() for option in options]}
        _print_json({**about, **needs, **rest})
        return
    hand_model = ("hand model", "needed (--hand-model)" if spec.needs_hand else "")
    root_joint = ("root joint", f"{spec.root_joint} ({JOINT_NAMES[spec.root_joint]})")
    show_record([*about.items(), hand_model, root_joint])
    click.echo("\nRecipes (--recipe NAME):")
    show_table(["name", "summary"], list(summaries.items()))
    _show_options(options, "--set")


def _one_backbone(registry: Registry, spec: BackboneSpec, as_json: bool) -> None:
    from hmr_core.config import section_options
    from hmr_core.nn.backbones.config import ALWAYS, BackboneConfig

    fields = {key: field for key, field in section_options(BackboneConfig).items() if key in (*ALWAYS, *spec.options)}
    options = [option._replace(key=f"backbone.{option.key}") for option in describe(fields, {})]
    plugin = registry.provider(spec)
    about = {"name": spec.name, "summary": spec.summary, "paper": spec.paper, "plugin": plugin}
    weights = {name: {"url": source.url, "licence": source.licence} for name, source in spec.weights.items()}
    if as_json:
        shown = [option._asdict() for option in options]
        for option in shown:
            del option["recipes"]
        _print_json({**about, "stride": spec.stride, "weights": weights, "options": shown})
        return
    stride = ("stride", f"{spec.stride} (image_size is a multiple of it)")
    sources = [(f"weights={name}", f"{source['url']} ({source['licence']})") for name, source in weights.items()]
    show_record([*about.items(), stride, *sources])
    _show_options(options, "--set")


def _solver_options(spec: SolverSpec) -> list[ConfigOption]:
    """A solver's options with their values under each protocol: the defaults, but for what it sets."""
    from hmr_core.config import section_options
    from hmr_core.plugins.solver_presets import solver_config

    protocols = {name: {"model": solver_config(spec, name).model_dump(mode="json")} for name in spec.protocols}
    return describe(section_options(spec.config), protocols)


def _show_options(options: list[ConfigOption], flag: str, columns: str = "in each recipe") -> None:
    if not options:
        return
    recipes = list(options[0].recipes)
    rows = [
        [
            option.key,
            option.type,
            "required" if option.required else value_text(option.default),
            *(value_text(option.recipes[recipe]) for recipe in recipes),
            option.description,
        ]
        for option in options
    ]
    click.echo(f"\nOptions ({flag} key=value){f', with the value {columns}' if recipes else ''}:")
    show_table(["key", "type", "default", *recipes, "description"], rows)


def _list(
    registry: Registry, kind: str, entries: list[dict[str, Any]], as_json: bool, *, recipes: bool = False
) -> None:
    """Installed things first, then those of ours that could be: broken ones say so, others how to install them."""
    installed = {entry["name"] for entry in entries}
    statuses = registry.plugins
    entries = list(entries)
    for name, known in KNOWN[kind].items():
        if name in installed:
            continue
        mine = [plugin for plugin in statuses if plugin.distribution == known.distribution]
        state = f"{mine[0].status}: see hmr plugins" if mine and not mine[0].ok else "not installed"
        install = "" if mine else command_line("pip install", known.distribution)
        entries.append({"name": name, "state": state, "summary": known.summary, "install": install})
    if as_json:
        _print_json(entries)
        return
    columns = ["name", "plugin", *(["recipes"] if recipes else []), "summary"]
    rows = [
        [
            entry["name"],
            entry.get("plugin") or f"{entry['state']}{': ' + entry['install'] if entry['install'] else ''}",
            *([", ".join(entry.get("recipes", ()))] if recipes else []),
            entry["summary"],
        ]
        for entry in entries
    ]
    show_table(columns, rows)
    bad = [plugin.name for plugin in statuses if plugin.status not in ("ok", "left out")]
    if bad:
        click.echo(f"plugins with a problem: {', '.join(bad)} (see: hmr plugins)", err=True)


def _plugin_json(plugin: PluginStatus) -> dict[str, Any]:
    return {"ok": plugin.ok, **dataclasses.asdict(plugin)}


def _installed(plugin: PluginStatus) -> str:
    return f"{plugin.distribution} {plugin.version}".strip()


def _offers(plugin: PluginStatus) -> str:
    kinds = ("models", "datasets", "solvers", "detectors", "predictors", "backbones")
    return "; ".join(f"{kind}: {', '.join(names)}" for kind in kinds if (names := getattr(plugin, kind)))


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))
