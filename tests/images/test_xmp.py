"""XMP ratings: a new packet, and one put into a packet of another program, as text."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from tastemaker.core.errors import InputError
from tastemaker.images.xmp import xmp_packet

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
XMP = "http://ns.adobe.com/xap/1.0/"
WRAP = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">%s</rdf:RDF></x:xmpmeta>'


def read(packet: str) -> str | None:
    description = ElementTree.fromstring(packet).find(f".//{{{RDF}}}Description")
    child = description.find(f"{{{XMP}}}Rating")
    return description.get(f"{{{XMP}}}Rating") if child is None else child.text


@pytest.mark.parametrize("rating", [-1, 0, 1, 5])
def test_a_new_packet_has_the_rating(rating: int) -> None:
    assert read(xmp_packet(rating)) == str(rating)


OTHERS = [
    WRAP % '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/png"/>',
    WRAP % f'<rdf:Description xmlns:xmp="{XMP}" xmp:Rating="1" xmp:Label="Red"/>',
    WRAP % f"<rdf:Description xmlns:xmp='{XMP}' xmp:Rating = '1'></rdf:Description>",
    WRAP % f'<rdf:Description xmlns:xmp="{XMP}"><xmp:Rating>3</xmp:Rating><xmp:Label>Red</xmp:Label></rdf:Description>',
    WRAP % f'<rdf:Description\n  xmlns:xmp="{XMP}"\n  xmp:CreateDate="2026-11-26"/>',
]


@pytest.mark.parametrize("packet", OTHERS)
def test_in_anothers_packet_only_the_rating_changes(packet: str) -> None:
    made = xmp_packet(4, packet)
    assert read(made) == "4"
    again = xmp_packet(2, made)
    assert read(again) == "2"
    assert len(again) == len(made)
    for kept in ("dc:format", "Red", "CreateDate"):
        assert (kept in packet) == (kept in made)


@pytest.mark.parametrize("packet", ["<a/>", "no XML", '<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>'])
def test_what_is_no_packet_stays_as_it_is(packet: str) -> None:
    assert xmp_packet(3, packet) == packet


@pytest.mark.parametrize("rating", [-2, 6, True, 2.5, "3", None])
def test_no_other_rating_is_written(rating: object) -> None:
    with pytest.raises(InputError, match="rating"):
        xmp_packet(rating)  # type: ignore[arg-type]
