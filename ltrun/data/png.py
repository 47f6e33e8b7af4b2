"""PNG files without their texts."""

from __future__ import annotations

import struct

TEXT_CHUNKS = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}  # chunks of a PNG that hold no pixels


def without_text(png: bytes) -> bytes:
    """Returns a PNG file without its texts and colour profile, whose megabytes may unpack to gigabytes."""
    kept, at = [png[:8]], 8
    while at + 8 <= len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        if kind not in TEXT_CHUNKS:
            kept.append(png[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)
