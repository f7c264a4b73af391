"""Digests of files, by which a report says exactly what it was made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hmr_core.files import open_regular


def file_digest(path: Path) -> str:
    """Compute the BLAKE2b (128 bits) of a file, in hexadecimal."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
