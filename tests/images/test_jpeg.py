"""A rating in a JPEG: where it goes, what it leaves alone, and files that only look like one."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from tastemaker.images.jpeg import with_rating

NAMESPACE = b"http://ns.adobe.com/xap/1.0/\0"
OWN = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Label="Red"/></rdf:RDF></x:xmpmeta>'
)


def jpeg(**options: object) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 255, (16, 24, 3), np.uint8)
    Image.fromarray(pixels).save(data, "JPEG", **options)
    return data.getvalue()


def read(data: bytes) -> tuple[str | None, np.ndarray]:
    with Image.open(io.BytesIO(data)) as picture:
        found = re.search(r'xmp:Rating="(-?\d)"', picture.info.get("xmp", b"").decode())
        return found and found[1], np.asarray(picture)


@pytest.mark.parametrize("options", [{}, {"exif": Image.Exif()}, {"xmp": OWN}, {"quality": 95, "progressive": True}])
def test_the_rating_is_read_back_and_every_pixel_stays(options: dict[str, object]) -> None:
    before = jpeg(**options)
    made = with_rating(before, 4)
    assert read(made)[0] == "4"
    np.testing.assert_array_equal(read(made)[1], read(before)[1])
    again = with_rating(made, -1)
    assert read(again)[0] == "-1"
    assert again.count(NAMESPACE) == 1
    assert (b"Red" in again) == (b"Red" in before)
    assert made.index(b"JFIF") < made.index(NAMESPACE) < made.index(b"\xff\xdb")


def test_what_it_cannot_walk_or_has_no_room_stays_as_it_is() -> None:
    whole = jpeg()
    full = OWN.replace(b"Red", b"R" * (65_502 - len(OWN)))
    broken = [b"\xff\xd8\xff", whole[:15], whole[:4] + b"\0\0" + whole[6:], whole[:4] + b"\xff\xff" + whole[6:600]]
    for data in [*broken, jpeg(xmp=full), whole[:2] + b"\xff\xe1\0\x21" + NAMESPACE + b"\xff\xfe" + whole[2:]]:
        assert with_rating(data, 3) == data
