"""What Python's users give that is of the wrong type, in a process that checks no types: it is told, or it is taken."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import warnings
import numpy as np
import torch
import hmr_core as hmr
from hmr_core.devices import check_device_name
from hmr_core.errors import HmrError
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.video.request import VideoRequest
from hmr_core.inference.video.smoothing import smoothing_of

warnings.simplefilter("error")
image = np.zeros((480, 640, 3), np.uint8)

def ask(**given):
    return PhotoRequest(**given).sought(640, 480)

WRONG = {
    "; valid: x, y, width and height in pixels": [
        {"boxes": [box]} for box in ("1,2,3,4", ["1", "2", "3", "4"], None, [[1, 2], [3]], np.eye(2), {"x": 1})
    ],
    "; valid: a list with a box for each hand": [
        {"boxes": boxes} for boxes in ("whole", 3, [1, 2, 30], [3], np.array([1, 2, 30, 40]), torch.arange(4))
    ],
    "Valid: right, left": [{"sides": sides} for sides in (3, [3], "Left")],
    'Valid: hand, joints': [{"box_of": kind} for kind in (None, 3, ["hand"])],
    "; valid: ": [
        {name: value} for name in ("fov", "depth", "hand_size") for value in ("60", [60], 1j, 10**400, object())
    ],
    "; valid: fx, fy, cx, cy": [{"intrinsics": given} for given in ("abc", [[1, 2], [3]], ["1", 2, 3, 4], {"fx": 1})],
}
CALLS = [(text, lambda given=given: ask(**given)) for text, cases in WRONG.items() for given in cases]
CALLS += [("; valid: a NumPy array", lambda given=given: hmr.draw(given, [])) for given in (None, 1, b"photo", [[1]])]
CALLS += [("; valid: a list of hmr.Hand", lambda given=given: hmr.draw(image, given)) for given in (None, 1, ["hand"])]
CALLS += [("; valid: what hmr.load", lambda given=given: hmr.track(given, [], fps=30)) for given in (None, "hand")]
CALLS += [("; valid: True, False", lambda given=given: smoothing_of(given)) for given in (None, "off", 1)]
CALLS += [("; valid: 1 to 50", lambda given=given: VideoRequest(hands=given)) for given in (None, "2", 1.5, True)]
CALLS += [("Valid: cpu, cuda", lambda: check_device_name(0))]
for i, (text, call) in enumerate(CALLS):
    try:
        print(i, text, "took it:", call())
    except HmrError as error:
        if text not in str(error):
            print(i, text, "not in:", error)
    except Exception as error:
        print(i, text, type(error), error)
check_device_name(torch.device("cpu"))
for box in (torch.tensor([1, 2, 30, 40]), np.array([1, 2, 30, 40])):
    assert ask(boxes=[box]) == ask(boxes=box[None]) == ask(boxes=[[1, 2, 30, 40]])
assert ask(intrinsics=torch.tensor([500.0, 500, 320, 240]), fov=None, boxes=torch.zeros(0, 4)) == []
print(len(CALLS), "done")
"""


def test_wrong_types_are_told() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "54 done\n"
