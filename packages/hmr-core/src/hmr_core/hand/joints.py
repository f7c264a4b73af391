"""Joint names and orders.

Annotations and predictions use OpenPose's order: the wrist, then thumb, index, middle, ring and little finger, each
from palm to tip. MANO's own 16 joints are ordered wrist, index, middle, little, ring, thumb, each from palm outwards.
"""

from __future__ import annotations

FINGERS = ("thumb", "index", "middle", "ring", "little")

JOINT_NAMES = (
    "wrist",
    "thumb_cmc", "thumb_mcp", "thumb_ip", "thumb_tip",
    "index_mcp", "index_pip", "index_dip", "index_tip",
    "middle_mcp", "middle_pip", "middle_dip", "middle_tip",
    "ring_mcp", "ring_pip", "ring_dip", "ring_tip",
    "little_mcp", "little_pip", "little_dip", "little_tip",
)  # fmt: skip

WRIST, MIDDLE_MCP = 0, 9

BONES = tuple((0 if child % 4 == 1 else child - 1, child) for child in range(1, 21))
"""(parent, child) pairs in OpenPose order: the wrist to each finger's base, then along the finger."""

TIP_VERTICES = (745, 317, 444, 556, 673)
"""The vertices that serve as finger tips, thumb to little finger (the release's own choice), of either hand here.

Published code takes 445 for the middle finger of left hands; here a left hand is a right one's mirror image.
"""

MANO_PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)
"""The parent of each of MANO's 16 joints; -1 for the wrist."""

MANO_TO_OPENPOSE = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Which of MANO's 16 joints followed by the five tips (thumb to little) is the i-th joint in OpenPose order."""

N_JOINTS, N_VERTS, N_FACES = 21, 778, 1538

SIDES = ("right", "left")
"""The hands that a hand model can be of."""
