"""Make the documentation's picture of a larger one: as wide as a small file allows."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2

from hmr_core.errors import HmrError
from hmr_core.pictures import encode, read_picture

WIDTHS_PX = (1120, 1000, 900, 800, 700, 600)
MOST_KB = 650

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("sheet", type=Path)
parser.add_argument("out", type=Path)
arguments = parser.parse_args()

try:
    sheet = read_picture(arguments.sheet)
except HmrError as error:
    raise SystemExit(f"{error} `make demo` leaves one") from error
for width in WIDTHS_PX:
    size = (width, round(sheet.shape[0] * width / sheet.shape[1]))
    small = cv2.resize(sheet, size, interpolation=cv2.INTER_AREA)
    encoded = encode(".png", small, (cv2.IMWRITE_PNG_COMPRESSION, 9))
    if len(encoded) < 1000 * MOST_KB:
        break
arguments.out.write_bytes(encoded)
print(f"{arguments.out}: {size[0]}x{size[1]}, {len(encoded) / 1000:.0f} kB")
