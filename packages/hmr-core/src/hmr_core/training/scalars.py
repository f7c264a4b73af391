"""What an event has for a graph: single numbers by name, the same for whoever draws them."""

from __future__ import annotations

from hmr_core.plugins.events import EpochDone, StepDone


def scalars(event: StepDone | EpochDone) -> dict[str, float]:
    """The numbers of a step or an epoch; those that could not be measured are left out."""
    if isinstance(event, EpochDone):
        means = {f"epoch_loss/{name}": value for name, value in event.losses.items()}
        return means | {f"val/{name}": value for name, value in event.val.items() if value is not None}
    measured = {
        "learning_rate": event.learning_rate,
        "gradient_norm": event.gradient_norm,
        "samples_per_second": event.samples_per_second,
        "data_wait": event.data_wait,
        "device_memory_mb": event.device_memory_mb,
    }
    losses = {f"loss/{name}": value for name, value in event.losses.items()}
    return losses | {name: value for name, value in measured.items() if value is not None}
