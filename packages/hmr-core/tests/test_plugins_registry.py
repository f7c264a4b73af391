"""Discovery never dies; only using a name that a broken plugin would offer raises, and says why."""

from __future__ import annotations

import sys
from typing import Any

import click
import pytest
from click.testing import CliRunner

from hmr_core.errors import UsageError
from hmr_core.plugins import hookimpl
from hmr_core.plugins.registry import Registry

HOOKS = (
    "hmr_models, hmr_datasets, hmr_solvers, hmr_detectors, hmr_predictors, hmr_backbones, hmr_commands, hmr_on_event"
)


def status(registry: Registry, name: str) -> Any:
    return next(plugin for plugin in registry.plugins if plugin.name == name)


def test_a_plugin_that_works(fakes: Any) -> None:
    registry = fakes.registry(
        fakes.plugin(
            "tiny",
            hmr_models=fakes.models("b", "a"),
            hmr_datasets=lambda: [fakes.dataset("d")],
            hmr_solvers=lambda: [fakes.solver("s")],
        )
    )
    (plugin,) = registry.plugins
    assert (plugin.name, plugin.distribution, plugin.version, plugin.ok, plugin.reason) == (
        *("tiny", "hmr-tiny", "1.0", True, ""),
    )
    assert (plugin.models, plugin.datasets, plugin.solvers) == (("a", "b"), ("d",), ("s",))
    assert list(registry.models()) == ["a", "b"]
    assert registry.model("a").summary == "the model a"
    assert registry.dataset("d").name == "d"
    assert registry.solver("s").name == "s"
    assert registry.provider(registry.model("a")) == "tiny"


def test_nothing_installed(fakes: Any) -> None:
    registry = fakes.registry()
    assert registry.plugins == []
    assert registry.models() == {}


def test_specs_are_collected_only_when_asked_for(fakes: Any) -> None:
    asked = []
    registry = fakes.registry(fakes.plugin("tiny", hmr_models=lambda: asked.append("models") or []))
    registry.add_commands(click.Group())
    registry.datasets()
    assert asked == []
    registry.models()
    registry.models()
    assert asked == ["models"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ModuleNotFoundError("No module named 'x'"), "cannot be imported: ModuleNotFoundError: No module named 'x'"),
        (SyntaxError("two\nlines"), "cannot be imported: SyntaxError: two lines"),
        (SystemExit(3), "cannot be imported: SystemExit: 3"),
        (RuntimeError(), "cannot be imported: RuntimeError"),
    ],
)
def test_an_import_error(fakes: Any, error: BaseException, reason: str) -> None:
    registry = fakes.registry(fakes.raising("bad", error), fakes.plugin("good", hmr_models=fakes.models("a")))
    bad = status(registry, "bad")
    assert (bad.ok, bad.status, bad.reason) == (False, "broken", reason)
    assert status(registry, "good").ok
    assert registry.model("a").name == "a"


def test_ctrl_c_during_an_import_is_not_a_broken_plugin(fakes: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        fakes.registry(fakes.raising("bad", KeyboardInterrupt()))


def test_an_unknown_hook(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("bad", hmr_model=fakes.models("a")))
    reason = f'there is no hook "hmr_model". Did you mean "hmr_models"? Hooks: {HOOKS}'
    assert (status(registry, "bad").status, status(registry, "bad").reason) == ("broken", reason)


def test_a_wrong_signature(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("bad", hmr_models=lambda config: []))
    reason = status(registry, "bad").reason
    assert reason.startswith("has a hook with a wrong signature: ")
    assert "{'config'} are declared in the hookimpl" in reason
    assert "; the hook is hmr_models()" in reason


def test_no_hook_at_all(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("bad"))
    assert status(registry, "bad").reason == (
        f"implements no hook: mark at least one function with @hookimpl. Hooks: {HOOKS}"
    )


def test_a_hook_that_is_not_marked(fakes: Any) -> None:
    made = fakes.module()
    made.hmr_models = fakes.models("a")
    registry = fakes.registry(fakes.FakeEntryPoint("bad", lambda: made, fakes.FakeDist("hmr-bad")))
    assert status(registry, "bad").reason == (
        "implements no hook: hmr_models lacks @hookimpl (from hmr_core.plugins import hookimpl)"
    )


def test_an_entry_point_that_leads_to_nothing(fakes: Any) -> None:
    registry = fakes.registry(fakes.FakeEntryPoint("bad", lambda: None))
    assert "implements no hook" in status(registry, "bad").reason


def test_a_module_that_is_declared_twice(fakes: Any) -> None:
    made = fakes.module(hmr_models=fakes.models("a"))
    first, second = (fakes.FakeEntryPoint(name, lambda: made, fakes.FakeDist("hmr-x")) for name in ("a", "b"))
    registry = fakes.registry(first, second)
    assert status(registry, "a").ok
    assert status(registry, "b").reason == 'is the same module as plugin "a" of hmr-x: an entry point is declared twice'
    assert list(registry.models()) == ["a"]


def test_a_module_that_cannot_even_be_looked_at(fakes: Any) -> None:
    class Hostile:
        def __dir__(self) -> list[str]:
            raise RuntimeError("no")

    registry = fakes.registry(fakes.FakeEntryPoint("bad", Hostile))
    assert status(registry, "bad").reason == "cannot be read: RuntimeError: no"


def test_a_hook_wrapper(fakes: Any) -> None:
    made = fakes.module()

    @hookimpl(wrapper=True)
    def hmr_models() -> Any:
        return (yield)

    made.hmr_models = hmr_models
    registry = fakes.registry(fakes.FakeEntryPoint("bad", lambda: made))
    assert status(registry, "bad").reason == (
        "hmr_models is a wrapper; plugins are called one by one, so there is nothing to wrap"
    )
    assert registry.models() == {}


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (lambda fakes: None, "hmr_models returned None, not a list of ModelSpec"),
        (lambda fakes: fakes.model("a"), "hmr_models returned a ModelSpec, not a list of ModelSpec"),
        (lambda fakes: ["a"], "hmr_models returned a list with a str in it, not a list of ModelSpec"),
        (lambda fakes: [fakes.model("a b")], "hmr_models returned a ModelSpec with the name 'a b', not a word"),
        (lambda fakes: [fakes.model("a")] * 2, 'hmr_models returned two ModelSpecs with the name "a"'),
        (lambda fakes: 1 // 0, "hmr_models raised ZeroDivisionError: integer division or modulo by zero"),
        (lambda fakes: sys.exit("bye"), "hmr_models raised SystemExit: bye"),
    ],
)
def test_a_hook_that_does_not_give_a_list_of_specs(fakes: Any, returned: Any, reason: str) -> None:
    registry = fakes.registry(
        fakes.plugin("bad", hmr_models=lambda: returned(fakes), hmr_datasets=lambda: [fakes.dataset("d")]),
        fakes.plugin("good", hmr_models=fakes.models("a")),
    )
    assert list(registry.models()) == ["a"]
    assert status(registry, "bad").reason == reason
    assert status(registry, "bad").status == "broken"
    assert list(registry.datasets()) == ["d"]  # its other hooks still work


def test_clashing_names_are_shown_on_both_and_using_one_says_how_to_choose(fakes: Any) -> None:
    registry = fakes.registry(
        fakes.plugin("core", dist="hmr-core", hmr_datasets=lambda: [fakes.dataset("oakink")]),
        fakes.plugin("one", hmr_models=fakes.models("a", "only-one")),
        fakes.plugin("two", hmr_models=fakes.models("a")),
        fakes.plugin("other", hmr_models=fakes.models("b")),
    )
    one, two, other = (status(registry, name) for name in ("one", "two", "other"))
    assert (one.status, one.reason) == ("clashing", 'model "a" is offered by plugin "two" (hmr-two 1.0) too')
    assert (two.status, two.reason) == ("clashing", 'model "a" is offered by plugin "one" (hmr-one 1.0) too')
    assert other.ok
    assert one.models == ("a", "only-one")
    assert list(registry.models()) == ["b", "only-one"]
    assert registry.model("only-one").name == "only-one"
    with pytest.raises(UsageError) as caught:
        registry.model("a")
    assert str(caught.value) == (
        'model "a" is offered by plugin "one" (hmr-one 1.0) and by plugin "two" (hmr-two 1.0). '
        "Uninstall one (pip uninstall hmr-two) or name the plugins to use (HMR_PLUGINS=one,other)"
    )


def test_what_the_clash_advises_works(fakes: Any) -> None:
    plugins = [
        fakes.plugin("core", dist="hmr-core", hmr_datasets=lambda: [fakes.dataset("oakink")]),
        fakes.plugin("rival", hmr_datasets=lambda: [fakes.dataset("oakink")]),
    ]
    with pytest.raises(UsageError, match=r"\(HMR_PLUGINS=core\)$"):
        fakes.registry(*plugins).dataset("oakink")
    assert fakes.registry(*plugins, only="core").dataset("oakink").name == "oakink"


def test_clashing_plugins_with_one_entry_point_name_are_told_apart_by_distribution(fakes: Any) -> None:
    plugins = [fakes.plugin("tiny", dist=dist, hmr_models=fakes.models("tiny")) for dist in ("tiny-a", "tiny-b")]
    with pytest.raises(UsageError, match=r"\(HMR_PLUGINS=tiny-a\)$"):
        fakes.registry(*plugins).model("tiny")
    assert fakes.registry(*plugins, only="tiny_b").model("tiny").name == "tiny"


def test_a_misspelt_name(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("tiny", hmr_models=fakes.models("tiny")))
    with pytest.raises(UsageError) as caught:
        registry.model("tinny")
    assert str(caught.value) == ('unknown model "tinny". Did you mean "tiny"? Installed: tiny. List them: hmr models')
    with pytest.raises(UsageError, match='Did you mean "integral"'):
        registry.model("integal")
    with pytest.raises(UsageError, match=r'^unknown solver "qqq"\. Installed: none\. List them: hmr solvers$'):
        registry.solver("qqq")


def test_an_unknown_name_beside_a_broken_plugin_mentions_it(fakes: Any) -> None:
    registry = fakes.registry(fakes.raising("bad", ImportError("x")))
    with pytest.raises(UsageError, match=r"Broken plugins: bad \(see: hmr plugins\)"):
        registry.model("zzz")


@pytest.mark.parametrize("name", ["integral", "rle", "i2l", "pyramid", "iknet"])
def test_a_known_model_that_is_not_installed(fakes: Any, name: str) -> None:
    with pytest.raises(UsageError) as caught:
        fakes.registry().model(name)
    assert str(caught.value) == f'model "{name}" is not installed: pip install hmr-{name}'


def test_a_known_solver_that_is_not_installed(fakes: Any) -> None:
    with pytest.raises(UsageError, match=r'^solver "iknet" is not installed: pip install hmr-iknet$'):
        fakes.registry().solver("iknet")


def test_a_known_model_whose_plugin_is_broken(fakes: Any) -> None:
    registry = fakes.registry(fakes.raising("rle", ImportError("no flow")))
    with pytest.raises(UsageError) as caught:
        registry.model("rle")
    assert str(caught.value) == (
        'model "rle" cannot be used, because plugin "rle" (hmr-rle 1.0) is broken: '
        "cannot be imported: ImportError: no flow. See: hmr plugins"
    )


def test_a_known_model_of_a_broken_plugin_with_another_name(fakes: Any) -> None:
    broken = fakes.FakeEntryPoint("residual", lambda: None, fakes.FakeDist("hmr-rle", "0.2"))
    with pytest.raises(UsageError, match=r'because plugin "residual" \(hmr-rle 0\.2\) is broken: implements no hook'):
        fakes.registry(broken).model("rle")


def test_hmr_plugins_restricts_by_plugin_or_distribution_and_keeps_core(fakes: Any) -> None:
    plugins = [
        fakes.plugin("core", dist="hmr-core", hmr_datasets=lambda: [fakes.dataset("oakink")]),
        fakes.plugin("one", hmr_models=fakes.models("a")),
        fakes.plugin("two", hmr_models=fakes.models("b")),
        fakes.plugin("three", dist="Third_Party", hmr_models=fakes.models("c")),
    ]
    registry = fakes.registry(*plugins, only="one, third-party")
    assert list(registry.models()) == ["a", "c"]
    assert list(registry.datasets()) == ["oakink"]
    two = status(registry, "two")
    assert (two.status, two.reason, two.models) == ("left out", "HMR_PLUGINS=one, third-party does not name it", ())
    assert list(fakes.registry(*plugins).models()) == ["a", "b", "c"]


def test_a_plugin_left_out_is_not_even_imported(fakes: Any) -> None:
    registry = fakes.registry(fakes.raising("bad", KeyboardInterrupt()), only="other")
    assert status(registry, "bad").status == "left out"


def test_using_a_model_that_hmr_plugins_leaves_out(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("rle", hmr_models=fakes.models("rle")), only="integral")
    with pytest.raises(UsageError) as caught:
        registry.model("rle")
    assert str(caught.value) == ('model "rle" is left out: HMR_PLUGINS=integral does not name it. Add rle to it')


def test_a_name_in_hmr_plugins_that_is_not_installed_is_shown(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("tiny", hmr_models=fakes.models("a")), only="tiny,tinny")
    missing = status(registry, "tinny")
    assert missing.status == "not found"
    assert missing.reason == (
        "HMR_PLUGINS names it, but no plugin or distribution of this name is installed."
        ' Did you mean "tiny"? Installed: tiny'
    )


def test_core_comes_first_and_the_rest_by_name(fakes: Any) -> None:
    plugins = [fakes.plugin(name, hmr_models=fakes.models(name)) for name in ("b", "a")]
    core = fakes.plugin("zz", dist="hmr-core", hmr_datasets=lambda: [])
    assert [plugin.name for plugin in fakes.registry(*plugins, core).plugins] == ["zz", "a", "b"]


def command(name: str) -> click.Command:
    return click.Command(name, callback=lambda: click.echo(f"{name} ran"), short_help=f"do {name}")


def test_commands_of_plugins(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("tiny", hmr_commands=lambda cli: cli.add_command(command("extra"))))
    cli = click.Group("hmr")
    registry.add_commands(cli)
    assert CliRunner().invoke(cli, ["extra"]).output == "extra ran\n"


def test_a_plugin_whose_commands_hook_raises_adds_nothing(fakes: Any) -> None:
    def half_done(cli: click.Group) -> None:
        cli.add_command(command("extra"))
        raise ValueError("no")

    registry = fakes.registry(fakes.plugin("bad", hmr_commands=half_done))
    cli = click.Group("hmr")
    registry.add_commands(cli)
    assert cli.commands == {}
    assert status(registry, "bad").reason == "hmr_commands raised ValueError: no"


def test_a_plugin_cannot_take_the_name_of_a_command_of_hmr(fakes: Any) -> None:
    registry = fakes.registry(fakes.plugin("bad", hmr_commands=lambda cli: cli.add_command(command("train"))))
    cli = click.Group("hmr")
    registry.add_commands(cli, reserved={"train"})
    assert cli.commands == {}
    assert status(registry, "bad").reason == 'its command "train" is left out: hmr has a command of this name'


def test_two_plugins_with_one_command(fakes: Any) -> None:
    plugins = [fakes.plugin(name, hmr_commands=lambda cli: cli.add_command(command("x"))) for name in ("one", "two")]
    registry = fakes.registry(*plugins)
    cli = click.Group("hmr")
    registry.add_commands(cli)
    error = CliRunner().invoke(cli, ["x", "--any", "thing"]).exception
    assert isinstance(error, UsageError)
    assert str(error).startswith('command "x" is offered by plugin "one" (hmr-one 1.0) and by plugin "two"')
    assert status(registry, "two").status == "clashing"


def test_events_reach_every_plugin_though_one_raises(fakes: Any) -> None:
    heard: list[object] = []

    def bad(event: object) -> None:
        raise RuntimeError("disk full")

    registry = fakes.registry(
        fakes.plugin("a-bad", hmr_on_event=bad),
        fakes.plugin("b-exits", hmr_on_event=lambda: sys.exit(0)),
        fakes.plugin("c-good", hmr_on_event=lambda run, event: heard.append((run, event))),
    )
    failures = registry.notify("the run", "the event")
    assert heard == [("the run", "the event")]
    assert [str(failure) for failure in failures] == [
        'plugin "a-bad": hmr_on_event raised RuntimeError: disk full',
        'plugin "b-exits": hmr_on_event raised SystemExit: 0',
    ]


def test_ctrl_c_in_a_watcher_stops_the_run(fakes: Any) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fakes.registry(fakes.plugin("a", hmr_on_event=interrupted)).notify("run", "event")
