"""Tell what a file is by its first bytes, for errors about a file of another kind than was asked for."""

from __future__ import annotations

HDF5 = b"\x89HDF\r\n\x1a\n"
"""How an HDF5 file begins, or goes on after a block of its writer's own, as packs do."""

BEGINNING = 1 << 16
"""How many bytes are worth looking at."""

LONGEST_HEADER = 100_000_000
"""Bytes of a safetensors header, at most; its own reader has the same limit."""

_STARTS = {
    b"\x89PNG": "a picture (PNG)",
    b"\xff\xd8\xff": "a picture (JPEG)",
    b"PK\x03\x04": "a zip file, as hand models (.npz) and PyTorch's files are",
    b"\x93NUMPY": "a single NumPy array (.npy)",
    b"\x1f\x8b": "compressed by gzip: unpack it",
    b"%PDF": "a PDF document",
    b"\x80": "a pickle",
}


def file_kind(begin: bytes) -> str:
    """Say what a file is that begins so, to be put behind "it is"; empty where the bytes say nothing."""
    if not begin:
        return "empty"
    if begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") < LONGEST_HEADER:
        return "a safetensors file, as checkpoints have"
    if HDF5 in begin[:BEGINNING]:
        return "an HDF5 file, such as a pack"
    if begin.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return "a web page"
    return next((kind for start, kind in _STARTS.items() if begin.startswith(start)), "")
