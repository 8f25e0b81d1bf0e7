"""A star rating as photo tools read it: `xmp:Rating` in an XMP packet, -1 for rejected (XMP Specification Part 2, 8.4).

Packets of others are edited as text, at the one place where the rating stands: a parser would write anew, and may
lose, what some other program put there, and what is no XML of the usual form is left alone.
"""

from __future__ import annotations

import re

from ..core.errors import InputError

XMP_KEY = "XML:com.adobe.xmp"  # the keyword of a PNG's text (XMP Specification Part 3, 1.1.5)
_NAMESPACE = "http://ns.adobe.com/xap/1.0/"
_PACKET = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f'<rdf:Description rdf:about="" xmlns:xmp="{_NAMESPACE}" xmp:Rating="%d"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_RATING = re.compile(r"""(\bxmp:Rating\s*=\s*["'])[^"'<>]*(["'])|(<xmp:Rating>)[^<>]*(</xmp:Rating>)""")
_DESCRIPTION = re.compile(r"<rdf:Description\b")


def xmp_packet(rating: int, packet: str = "") -> str:
    """Return a packet with a rating, -1 to 5; one that is there keeps all else. Raises InputError for another rating.

    One that holds no description this knows is returned as it is.
    """
    if isinstance(rating, bool) or not isinstance(rating, int) or not -1 <= rating <= 5:
        raise InputError("rating", rating, "It must be a whole number from -1 (rejected) to 5.")
    if not packet.strip():
        return _PACKET % rating
    if _RATING.search(packet):
        return _RATING.sub(lambda found: _replaced(found, rating), packet)
    place = _DESCRIPTION.search(packet)
    if place is None:
        return packet
    known = re.search(r"\bxmlns:xmp\s*=", packet[place.end() : packet.find(">", place.end())])
    namespace = "" if known else f' xmlns:xmp="{_NAMESPACE}"'
    return f'{packet[: place.end()]}{namespace} xmp:Rating="{rating}"{packet[place.end() :]}'


def _replaced(found: re.Match[str], rating: int) -> str:
    attribute, quote, opening, closing = found.groups()
    return f"{attribute}{rating}{quote}" if attribute else f"{opening}{rating}{closing}"
