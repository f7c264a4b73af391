"""Put evaluations of the same samples into one table and, with --picture, into one picture.

python tools/compare.py demo/sp0/eval/* --data demo/oakink.h5 --picture models.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hmr_core.cli.metrics_table import show_comparison
from hmr_core.cli.options import find_data
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.saved import draw_comparison, read_evaluations
from hmr_core.hand.source import find_hand_model
from hmr_core.pictures import write_png
from hmr_core.shell import flag

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("evaluations", type=Path, nargs="+", metavar="EVALUATION", help="a folder that `hmr eval` left")
parser.add_argument("--picture", type=Path, metavar="FILE", help="a PNG file to write")
parser.add_argument("--data", type=Path, metavar="FILE", help="the pack, for the picture (see `hmr eval --help`)")
parser.add_argument("--hand-model", type=Path, metavar="FILE", help="whose faces the meshes have (the same)")
arguments = parser.parse_args()

try:
    evaluations = read_evaluations(arguments.evaluations)
    show_comparison([one.report for one in evaluations])
    if arguments.picture is not None:
        faces = find_hand_model(arguments.hand_model).model.faces.numpy()
        sheet = draw_comparison(evaluations, Pack(find_data(arguments.data)), faces)
        write_png(arguments.picture, sheet)
        print(f"picture: {arguments.picture}")
except HmrError as error:
    raise SystemExit(f"error: {error.worded(flag)}") from error
