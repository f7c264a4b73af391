"""A backbone's first weights: fetched by name, or read from a file, and checked by name, shape and value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hmr_core.errors import HmrError, Option
from hmr_core.nn.backbones.backbone import Backbone
from hmr_core.nn.backbones.config import WeightsSource
from hmr_core.nn.files import file_format, read_safetensors, read_state_dict


def load_pretrained(backbone: Backbone, sources: Mapping[str, WeightsSource]) -> None:
    """Load what `config.weights` says: nothing for "random", one of the sources by its name, or a file.

    Raises HmrError when the file cannot be had, fails its hash, or does not fit.
    """
    weights = backbone.config.weights
    if weights == "random":
        return
    state = _fetch(backbone, sources[weights]) if weights in sources else _read(backbone, Path(weights), sources)
    own = backbone.state_dict()
    state = backbone.own_names(state)
    _check_fit(own, state, backbone)
    backbone.load_state_dict({**own, **state})


def _fetch(backbone: Backbone, source: WeightsSource) -> dict[str, Tensor]:
    if backbone.config.width is not None:
        raise HmrError(
            f"backbone.weights={backbone.config.weights} is of {backbone.config.name} as it was published; there is "
            f"nothing to fetch for one of another width, {backbone.config.width}.",
            "Leave the width as it is with ",
            Option("set", "backbone.width=null"),
            ", or train from scratch with ",
            Option("set", "backbone.weights=random"),
            ".",
        )
    try:
        held = torch.hub.load_state_dict_from_url(source.url, map_location="cpu", check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise HmrError(
            f"the weights {source.url} could not be fetched: {error}.",
            "Put the file somewhere and pass ",
            Option("set", "backbone.weights=FILE"),
            ", or train from scratch with ",
            Option("set", "backbone.weights=random"),
            ".",
        ) from error
    return dict(held.get("model", held))


def _read(backbone: Backbone, path: Path, sources: Mapping[str, WeightsSource]) -> dict[str, Tensor]:
    names = "".join(f'"{name}", ' for name in ("random", *sources))
    example = f", such as {source.file}" if (source := next(iter(sources.values()), None)) is not None else ""
    valid = f"Valid for backbone.weights: {names}or a file of {backbone.config.name}'s weights{example}."
    if not path.is_file():
        raise HmrError(f"backbone.weights={path}: {'not a regular file' if path.exists() else 'no such file'}. {valid}")
    if file_format(path) == "safetensors":
        return read_safetensors(path)
    return read_state_dict(path, (valid,), beside_others=True)


def _check_fit(own: Mapping[str, Tensor], state: Mapping[str, Tensor], backbone: Backbone) -> None:
    source = backbone.config.weights
    missing = sorted(k for k in own if k not in state and "num_batches" not in k)
    unknown = sorted(k for k in state if k not in own)
    wrong = sorted(k for k in state if k in own and own[k].shape != state[k].shape)
    for problem, keys in (("lacks", missing), ("has the unknown", unknown), ("has another shape of", wrong)):
        if keys:
            more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
            raise HmrError(
                f"backbone.weights={source} does not fit {backbone.config.name}: it {problem} {keys[0]}{more}. "
                f"Is backbone.name the file's?"
            )
    if bad := next((k for k, v in state.items() if v.is_floating_point() and not bool(v.isfinite().all())), None):
        raise HmrError(
            f"backbone.weights={source} holds numbers that are not finite, first in {bad}: it is damaged. Get it again."
        )
