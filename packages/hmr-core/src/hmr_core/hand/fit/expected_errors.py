"""What the fit of image and joints expects, unless told otherwise; without torch, so that options can show it.

Chosen on synthetic hands and on real photographs; tools/study_photo_fit.py reports on other hands.
"""

from __future__ import annotations

NOISE_SHARE = 0.015
"""The expected error of a point of the picture on each axis, by the hand's size in it."""

NOISE_MM = 12.0
"""The expected error of a joint in space on each axis: a network's skeleton is no hand's."""

SCALE_ERROR = 0.1
"""By how much, as a logarithm, measured joints are larger or smaller than the hand."""
