"""What somebody meant who named an option that does not exist."""

from __future__ import annotations

import pytest

from hmr_core.option_names import meant

KEYS = (
    *("image_size", "backbone.depth", "backbone.width", "backbone.freeze_batch_norm", "backbone.weights", "head.depth"),
    *("head.channels", "loss.rotation", "loss_weight", "augment.rotation_deg", "augment.rotation_probability"),
    *("augment.scale", "train.epochs", "train.batch_size", "train.learning_rate", "train.weight_decay"),
    *("train.schedule", "train.milestones", "train.gamma", "train.clip_norm", "train.precision", "train.seed"),
)


@pytest.mark.parametrize(
    ("given", "means"),
    [
        # the same name elsewhere
        ("learning_rate", ["train.learning_rate"]),
        ("model.epochs", ["train.epochs"]),
        ("trian.epochs", ["train.epochs"]),
        ("bakbone.depth", ["backbone.depth"]),
        ("depth", ["head.depth", "backbone.depth"]),
        ("train.learning-rate", ["train.learning_rate"]),
        ("batchsize", ["train.batch_size"]),
        # initials
        ("train.lr", ["train.learning_rate"]),
        ("LR", ["train.learning_rate"]),
        ("bs", ["train.batch_size"]),
        ("train.wd", ["train.weight_decay"]),
        # some of the words, perhaps shortened
        ("num_epochs", ["train.epochs"]),
        ("epoch", ["train.epochs"]),
        ("train.batch", ["train.batch_size"]),
        ("decay", ["train.weight_decay"]),
        ("clip_grad_norm", ["train.clip_norm"]),
        ("lr_scheduler", ["train.schedule"]),
        ("augment.rot", ["augment.rotation_deg", "augment.rotation_probability"]),
        ("manual_seed", ["train.seed"]),
        # misspelt
        ("train.learing_rate", ["train.learning_rate"]),
        ("image_sise", ["image_size"]),
        ("wieghts", ["backbone.weights"]),
        # nothing that is near
        *(
            (given, [])
            for given in ("", "x", "train", "momentum", "train.optimizer", "dropout", "augment.flip", "amp", "gpu")
        ),
    ],
)
def test_what_was_meant(given: str, means: list[str]) -> None:
    text = meant(given, KEYS)
    assert text == (f" Did you mean {' or '.join(map(repr, means))}?".replace("'", '"') if means else "")
