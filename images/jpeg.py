"""A rating in a JPEG's XMP, put in without touching a pixel (XMP Specification Part 3, 1.1.3).

Layout: FF D8, then segments of FF, a kind, a length (2 bytes, big-endian, itself included) and data, up to the picture
itself behind FF DA. Metadata are segments of the kind APP1 (FF E1), told apart by how their data begin.
"""

from __future__ import annotations

from .xmp import xmp_packet

SIGNATURE = b"\xff\xd8\xff"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_APP0, _APP1, _SCAN = 0xE0, 0xE1, 0xDA
_MAX_SEGMENT = 0xFFFF


def with_rating(jpeg: bytes, rating: int) -> bytes:
    """Return a JPEG with a rating, -1 to 5, in its XMP; all else byte for byte as it was.

    One whose segments cannot be walked, or whose XMP has no room for it, is returned as it is.
    """
    place, start = 2, 2
    while True:
        kind, end = _segment(jpeg, start)
        if end == 0 or kind == _SCAN:
            break
        data = jpeg[start + 4 : end]
        if kind == _APP1 and data.startswith(_XMP):
            return _put(jpeg, start, end, rating, data[len(_XMP) :])
        if kind in (_APP0, _APP1) and start == place:
            place = end  # behind JFIF and Exif, which have to come first
        start = end
    return jpeg if end == 0 else _put(jpeg, place, place, rating, b"")


def _segment(jpeg: bytes, start: int) -> tuple[int, int]:
    """Return a segment's kind and where it ends; 0 for what is none."""
    head = jpeg[start : start + 4]
    if len(head) < 4 or head[0] != 0xFF:
        return 0, 0
    end = start + 2 + int.from_bytes(head[2:], "big")
    return head[1], end if start + 4 <= end <= len(jpeg) else 0


def _put(jpeg: bytes, start: int, end: int, rating: int, before: bytes) -> bytes:
    try:
        packet = _XMP + xmp_packet(rating, before.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return jpeg
    if len(packet) + 2 > _MAX_SEGMENT:
        return jpeg
    return jpeg[:start] + b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet + jpeg[end:]
