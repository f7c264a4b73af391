"""Make the documentation's picture of a larger one: narrower, so that the file is small."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

WIDTH_PX = 1120

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sheet", type=Path)
parser.add_argument("out", type=Path)
arguments = parser.parse_args()

sheet = cv2.imread(str(arguments.sheet))
if sheet is None:
    raise SystemExit(f"{arguments.sheet} is not a picture; `make demo` leaves one")
height = round(sheet.shape[0] * WIDTH_PX / sheet.shape[1])
small = cv2.resize(sheet, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
if not cv2.imwrite(str(arguments.out), small, [cv2.IMWRITE_PNG_COMPRESSION, 9]):
    raise SystemExit(f"{arguments.out} could not be written")
print(f"{arguments.out}: {small.shape[1]}x{small.shape[0]}, {arguments.out.stat().st_size / 1000:.0f} kB")
