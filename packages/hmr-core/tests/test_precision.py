"""How a run computes: what is set for a step, what a device is refused, how float16's loss is scaled."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.errors import HmrError, UsageError
from hmr_core.nn.float32 import float32_arithmetic
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.training.loss_scale import check_scale, load_scaler, make_scaler, scaler_tensors
from hmr_core.training.optimizer import Adam
from hmr_core.training.precision import arithmetic_text, check_arithmetic, network_precision, step_arithmetic

CPU, GPU, MPS = torch.device("cpu"), torch.device("cuda", 0), torch.device("mps")


def config(**options: Any) -> TrainConfig:
    return TrainConfig(epochs=1, batch_size=1, **options)


def modes() -> tuple[bool, str]:
    """Whether cuDNN convolves by TensorFloat-32, and how matrices are multiplied."""
    return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("precision", "within"),
    [("float32", (False, "highest")), ("tf32", (True, "high")), ("bfloat16", (False, "highest"))],
)
def test_a_step_has_the_precision_of_its_recipe_and_nobody_else(
    precision: str, within: tuple[bool, str], before: bool
) -> None:
    with float32_arithmetic(tf32=before):
        outside = modes()
        with suppress(KeyboardInterrupt), step_arithmetic(config(precision=precision)):
            assert modes() == within
            raise KeyboardInterrupt
        assert modes() == outside


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", "float16"])
def test_the_network_runs_in_its_precision(precision: str) -> None:
    network = torch.nn.Linear(2, 2)
    with network_precision(config(precision=precision), CPU):
        dtype = network(torch.ones(1, 2)).dtype
    assert dtype == getattr(torch, precision if precision.endswith("16") else "float32")
    assert network(torch.ones(1, 2)).dtype == torch.float32


def test_a_line_says_how_a_run_computes() -> None:
    assert arithmetic_text(config()) == "float32, fused Adam, channels_last off, not compiled"
    quick = config(precision="bfloat16", optimizer="adamw", channels_last=True, compile=True)
    assert arithmetic_text(quick) == "bfloat16, fused AdamW, channels_last on, compiled"
    assert arithmetic_text(config(), 2).endswith(", batch norm of each process by itself")
    assert arithmetic_text(config(sync_batch_norm=True), 2).endswith(", batch norm over all processes")


@pytest.fixture
def old_gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """A GPU of before Ampere, as far as PyTorch says."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    return GPU


def test_what_a_device_cannot_is_refused_with_what_it_can(
    old_gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_macos_or_newer", lambda major, minor: major < 14)
    refused = {
        ("tf32", CPU): "tf32 cannot be used on cpu: TensorFloat-32 needs an NVIDIA GPU of the Ampere generation or a "
        "later one. Valid here: float32, bfloat16, float16.",
        ("tf32", old_gpu): "on cuda:0: TensorFloat-32 needs an NVIDIA GPU",
        (
            "bfloat16",
            old_gpu,
        ): "it computes bfloat16 by way of float32, which is slower than float32 itself. Valid here: float32, float16.",
        ("bfloat16", MPS): "bfloat16 needs macOS 14. Valid here: float32.",
        ("float16", MPS): "PyTorch does not scale losses there",
    }
    for (precision, device), text in refused.items():
        with pytest.raises(UsageError) as caught:
            check_arithmetic(config(precision=precision), device)
        assert text in str(caught.value)
    for precision, device in (("float32", CPU), ("bfloat16", CPU), ("float16", CPU), ("float16", old_gpu)):
        check_arithmetic(config(precision=precision), device)


def test_compiling_needs_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiled = config(compile=True)
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"on cpu: there is no C\+\+ compiler \(g\+\+ or clang\+\+\)\. Set train\.com"):
        check_arithmetic(compiled, CPU)
    with pytest.raises(UsageError, match=r"on mps: PyTorch's compiler is not ready for it"):
        check_arithmetic(compiled, MPS)
    (tmp_path / "clang++").touch(mode=0o755)
    check_arithmetic(compiled, CPU)


def test_batch_norm_is_synchronised_on_gpus_alone() -> None:
    together = config(sync_batch_norm=True)
    with pytest.raises(UsageError, match=r"on cpu: PyTorch gathers batch norm's statistics on GPUs alone"):
        check_arithmetic(together, CPU, processes=2)
    check_arithmetic(together, GPU, processes=2)
    check_arithmetic(together, CPU)  # one process has all samples


class Steps:
    """Steps of one weight whose gradients a test chooses, with the loss scaled as in training."""

    def __init__(self, **options: Any) -> None:
        self.config = config(precision="float16", **options)
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.optimizer = Adam([self.weight], lr=0.1, fused=True)
        self.scaler = make_scaler(self.config, CPU)

    def __call__(self, gradient: float) -> float:
        """Take a step with a gradient; the gradient as the optimizer is given it."""
        self.optimizer.zero_grad()
        self.scaler.scale(self.weight.sum() * gradient).backward()
        self.scaler.unscale_(self.optimizer)
        assert self.weight.grad is not None
        given = float(self.weight.grad)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return given


def test_a_step_that_overflows_is_skipped_and_the_scale_halved() -> None:
    steps = Steps()
    assert steps(3.0) == 3
    assert float(steps.weight.detach()) == pytest.approx(0.9)
    scale = steps.scaler.get_scale()
    steps(float("inf"))
    assert float(steps.weight.detach()) == pytest.approx(0.9)
    assert steps.scaler.get_scale() == scale / 2
    check_scale(steps.scaler, "at step 2 (epoch 1)")
    while steps.scaler.get_scale() >= 1:
        steps(float("inf"))
    text = r"^gradients do not fit into float16 at step 20 \(epoch 1\): the loss was scaled down to 0\.5 times itself, "
    with pytest.raises(HmrError, match=text + r"and they still overflow\. Set train\.precision=bfloat16"):
        check_scale(steps.scaler, "at step 20 (epoch 1)")


def test_a_scaler_goes_on_where_it_was() -> None:
    first, second = Steps(), Steps()
    for gradient in (float("inf"), 1.0, 2.0):
        first(gradient)
    tensors = scaler_tensors(first.scaler)
    assert {name: float(value) for name, value in tensors.items()} == {
        "scaler/scale": 2.0**15,
        "scaler/growth_tracker": 2.0,
    }
    load_scaler(second.scaler, tensors)
    assert second.scaler.state_dict() == first.scaler.state_dict()
    second(1.0)
    first(1.0)
    assert second.scaler.state_dict() == first.scaler.state_dict()


def test_a_scaler_that_is_off_has_no_state_and_passes_on_what_it_is_given() -> None:
    scaler = make_scaler(config(precision="bfloat16"), CPU)
    assert scaler_tensors(scaler) == {}
    load_scaler(scaler, {})
    loss = torch.ones(1)
    assert scaler.scale(loss) is loss
    check_scale(scaler, "at step 1")
