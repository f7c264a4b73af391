"""The numbers by which DexYCB's own evaluation knows the frames of a list."""

from __future__ import annotations

from collections.abc import Sequence

from hmr_core.errors import HmrError
from hmr_datasets.dexycb.layout import SERIALS, SampleKey
from hmr_datasets.dexycb.splits import RULES


def image_ids(sample_ids: Sequence[str], split: str) -> list[int]:
    """The official number of each sample of a split's test, given all of them; of any order.

    The toolkit numbers every frame of a list, those without an annotated hand too: sequence by sequence, in each of
    them camera by camera. Raises HmrError when the samples are not of every sequence of the list.
    """
    keys = [SampleKey.from_id(sample_id) for sample_id in sample_ids]
    rule = RULES[split]["test"]
    serials = [SERIALS[number] for number in rule.serials]
    frames = {key.sequence: key.frames for key in keys}
    expected = len(rule.subjects) * len(rule.sequences)
    if len(frames) != expected:
        raise HmrError(
            f"these are samples of {len(frames)} sequences, and test of {split} has {expected}: the official numbers "
            "count the frames of all of them. Pack the whole of it."
        )
    begins, begin = {}, 0
    for sequence in sorted(frames):
        begins[sequence] = begin
        begin += frames[sequence] * len(serials)
    return [begins[key.sequence] + serials.index(key.serial) * key.frames + key.frame for key in keys]
