"""What protocols and users make of a solver's options, what a report calls that, and which solvers take weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field

from hmr_core.config import Section
from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins import SolverSpec
from hmr_core.plugins.solver_presets import check_weights, protocol_label, solver_config


class Prior(Section):
    group: int = Field(1, gt=0)


class FitConfig(Section):
    fit: Literal["slow", "fast", "none"] = "none"
    steps: int | None = None
    prior: Prior = Prior()


PUBLISHED = {"fit": "slow", "prior": {"group": 256}}


def spec(**protocols: Any) -> SolverSpec:
    return SolverSpec(
        name="fitter", summary="", config=FitConfig, build=lambda *given: pytest.fail("built"), protocols=protocols
    )


def test_defaults_count_least_then_the_protocol_then_the_user() -> None:
    made = spec(published=PUBLISHED, best={"fit": "fast"})
    assert solver_config(made, "published") == FitConfig(fit="slow", prior=Prior(group=256))
    assert solver_config(made, "best") == FitConfig(fit="fast")
    assert solver_config(made, "published", ["prior.group=8", "steps=3"]) == FitConfig(
        fit="slow", steps=3, prior=Prior(group=8)
    )
    assert PUBLISHED == {"fit": "slow", "prior": {"group": 256}}  # overrides leave the plugin's own record alone


@pytest.mark.parametrize(
    ("overrides", "label"),
    [
        ((), "published"),
        (("fit=slow", "prior.group=256"), "published"),  # what it would be anyway
        (("fit=fast",), "published, but fit=fast"),
        (("prior.group=8", "steps=30", "fit=none"), "published, but fit=none, steps=30, prior.group=8"),
    ],
)
def test_a_report_names_what_differs_from_the_protocol(overrides: tuple[str, ...], label: str) -> None:
    made = spec(published=PUBLISHED)
    assert protocol_label(made, "published", solver_config(made, "published", overrides)) == label


def test_a_value_that_is_taken_away_is_named_null() -> None:
    made = spec(best={"steps": 5})
    assert protocol_label(made, "best", solver_config(made, "best", ["steps=null"])) == "best, but steps=null"


def test_a_solver_that_no_published_figures_were_made_with_is_named() -> None:
    made = spec(best={"steps": 5})
    assert protocol_label(made, "published", solver_config(made, "published")) == "published, but solver=fitter"
    changed = solver_config(made, "published", ["fit=fast"])
    assert protocol_label(made, "published", changed) == "published, but solver=fitter, fit=fast"
    assert protocol_label(made, "best", solver_config(made, "best")) == "best"


def test_weights_are_asked_for_where_they_are_needed_and_refused_elsewhere() -> None:
    plain, trained = spec(), replace(spec(), needs_weights=True)
    check_weights(plain, None)
    check_weights(trained, Path("weights.pt"))
    with pytest.raises(
        UsageError, match=r'"fitter" needs its weights\. Add solver_ckpt=FILE .* or take solver=lm, which'
    ):
        check_weights(trained, None)
    with pytest.raises(UsageError, match=r'"fitter" has no weights\. Leave solver_ckpt out\.$'):
        check_weights(plain, Path("weights.pt"))


def test_a_solver_that_knows_no_protocols_has_its_defaults_and_no_other_protocol() -> None:
    assert solver_config(spec(), "published") == FitConfig()
    with pytest.raises(UsageError) as caught:
        solver_config(spec(published=PUBLISHED), "best")
    assert str(caught.value) == (
        'the solver "fitter" does not say what the protocol "best" means. Valid: published. Its options can be set one '
        "by one: `hmr solvers fitter` lists them."
    )


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("fit", r'"fit" is not key=value\. solver_set takes key=value, such as fit=VALUE\.$'),
        (
            "fitt=fast",
            r'unknown option "fitt"\. Did you mean "fit"\? `hmr solvers fitter` lists what solver_set takes\.',
        ),
        ("fit=quick", r"""^fit=quick: "quick" is not valid for fit: Input should be 'slow', 'fast' or"""),
        ("prior.group=0", r'"0" is not valid for prior\.group: Input should be greater than 0\. `hmr solvers fitter`'),
        ("steps=3.5", r'"3\.5" is not valid for steps: Input should be a valid integer'),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(override: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        solver_config(spec(published=PUBLISHED), "published", [override])


def test_a_plugin_that_sets_what_its_options_do_not_allow_is_broken() -> None:
    with pytest.raises(
        HmrError, match=r'"fitter" is broken: its own options under the protocol "best" .*\(fitt: Extra in'
    ):
        solver_config(spec(best={"fitt": "fast"}), "best")
