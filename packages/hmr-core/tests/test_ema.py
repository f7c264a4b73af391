"""The average of the weights, by hand."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch

from hmr_core.training.ema import average, begin_average, decay_at, swapped_in


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))


def test_the_first_steps_forget_the_first_weights() -> None:
    assert [decay_at(0.999, step) for step in (1, 2, 10)] == pytest.approx([2 / 11, 3 / 12, 11 / 20])
    assert decay_at(0.5, 100) == 0.5


def test_the_average_is_the_sum_that_the_formula_says() -> None:
    model = network()
    averaged = begin_average(model)
    states = [{name: tensor.double() for name, tensor in averaged.items()}]
    for step in range(1, 6):
        with torch.no_grad():
            for tensor in model.parameters():
                tensor.add_(torch.randn_like(tensor))
        model(torch.randn(2, 3, 5, 5))  # moves batch norm's statistics, and its count
        average(averaged, model, decay_at(0.6, step))
        states.append({name: tensor.double().clone() for name, tensor in model.state_dict().items()})
    for name, tensor in averaged.items():
        expected = states[0][name]
        for step, state in enumerate(states[1:], start=1):
            decay = min(0.6, (1 + step) / (10 + step))
            expected = decay * expected + (1 - decay) * state[name]
        if name == "1.num_batches_tracked":
            assert int(tensor) == 5  # it is counted, not averaged
        else:
            torch.testing.assert_close(tensor.double(), expected, rtol=1e-5, atol=1e-6)
            assert not torch.equal(tensor, model.state_dict()[name])


def test_the_average_is_no_view_of_the_model() -> None:
    model = network()
    averaged = begin_average(model)
    before = {name: tensor.clone() for name, tensor in averaged.items()}
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.zero_()
    assert all(torch.equal(averaged[name], tensor) for name, tensor in before.items())


def test_the_model_has_the_average_within_the_block_alone() -> None:
    model = network()
    averaged = {name: torch.full_like(tensor, 3) for name, tensor in model.state_dict().items()}
    own = begin_average(model)
    with suppress(KeyboardInterrupt), swapped_in(averaged, model):
        assert all((tensor == 3).all() for tensor in model.state_dict().values())
        raise KeyboardInterrupt
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
    with swapped_in(None, model):
        assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


def test_tied_weights_are_averaged_as_one() -> None:
    model = torch.nn.ModuleList([torch.nn.Linear(2, 2, bias=False), torch.nn.Linear(2, 2, bias=False)])
    model[1].weight = model[0].weight
    averaged = begin_average(model)
    with torch.no_grad():
        model[0].weight.add_(1)
    average(averaged, model, 0.5)
    assert torch.equal(averaged["0.weight"], averaged["1.weight"])
    with swapped_in(averaged, model):
        assert torch.equal(model[0].weight, averaged["0.weight"])


def test_a_network_laid_out_pixel_by_pixel_has_the_same_average() -> None:
    rows, pixels = network(), network().to(memory_format=torch.channels_last)
    averages = begin_average(rows), {name: tensor.contiguous() for name, tensor in begin_average(pixels).items()}
    for model, averaged in zip((rows, pixels), averages, strict=True):
        with torch.no_grad():
            model[0].weight.mul_(2)
        average(averaged, model, 0.25)
    assert all(torch.equal(tensor, averages[1][name]) for name, tensor in averages[0].items())
