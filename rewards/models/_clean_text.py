"""Texts as CLIP's own tokenizer cleans them before it reads them: ftfy's repairs, HTML's entities, spaces, lower case.

OpenAI's CLIP (simple_tokenizer.py: `basic_clean`, `whitespace_clean`) and open_clip do so, transformers' tokenizers do
not. `ftfy` does the repairs where it is installed. Without it they are made here, all but one: text that was read in
a wrong encoding ("cafA~(C)") stays as it is, and `misread` tells where that makes a difference.
"""

from __future__ import annotations

import html
import html.entities
import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache


def clean(text: str) -> str:
    """Return a text as CLIP's tokenizer reads it."""
    text = html.unescape(html.unescape(_fix_text(text)))
    return " ".join(text.split()).lower()


@cache
def has_ftfy() -> bool:
    """Return whether ftfy is there to make the repairs."""
    try:
        import ftfy  # noqa: F401
    except ImportError:
        return False
    return True


def _fix_text(text: str) -> str:
    if has_ftfy():
        import ftfy

        return ftfy.fix_text(text)
    return fix_text(text)


# --- ftfy's repairs (Speer 2019, ftfy 6: `fix_text` with its defaults) ---------------------------


def _span(first: int, last: int) -> range:
    return range(first, last + 1)


def _characters() -> dict[int, str | None]:
    """Map single characters to what they become: controls, ligatures, wide and narrow forms, quotes, line breaks."""
    table: dict[int, str | None] = {}
    for code in _span(0x80, 0x9F):  # as Windows-1252 has them; five have no character there
        table[code] = bytes([code]).decode("cp1252", "replace").replace("\ufffd", chr(code))
    for code in (*_span(0x132, 0x133), *_span(0x1C4, 0x1CC), *_span(0x1F1, 0x1F3), *_span(0xFB00, 0xFB06)):
        table[code] = unicodedata.normalize("NFC", unicodedata.normalize("NFKD", chr(code)))
    table |= {0x149: "\u02bcn", 0xFB05: "\u017ft", 0x3000: " "}
    for code in _span(0xFF01, 0xFFEF):
        table[code] = unicodedata.normalize("NFKC", chr(code))
    table |= dict.fromkeys((0x2BC, *_span(0x2018, 0x201B)), "'")
    table |= dict.fromkeys(_span(0x201C, 0x201F), '"')
    table |= dict.fromkeys((0x0D, 0x2028, 0x2029), "\n")
    gone = (*_span(0, 8), 0x0B, *_span(0x0E, 0x1A), *_span(0x1C, 0x1F), 0x7F)  # escapes go after what they begin
    return table | dict.fromkeys((*gone, *_span(0x206A, 0x206F), 0xFEFF, *_span(0xFFF9, 0xFFFC)))


_CHARACTERS = _characters()
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_ESCAPE = re.compile("\033\\[[\\d;]*[a-zA-Z]")
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def fix_text(text: str) -> str:
    """Return a text with ftfy's repairs, but for those of wrong encodings. Each line is repaired on its own."""
    fixed, entities = [], True
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        entities = entities and "<" not in line  # it is HTML from here on, where entities are meant
        fixed.append(_fix_line(line, entities))
    return "".join(fixed)


def _fix_line(text: str, entities: bool) -> str:
    while True:
        before = text
        if entities:
            text = _ENTITY.sub(lambda found: _entity(found[0]), text)
        text = _PAIR.sub(lambda pair: pair[0].encode("utf-16", "surrogatepass").decode("utf-16"), text)
        text = _SURROGATE.sub("\ufffd", text.replace("\r\n", "\n").translate(_CHARACTERS).replace("\x85", "\n"))
        text = unicodedata.normalize("NFC", _ESCAPE.sub("", text).replace("\033", ""))
        if text == before:
            return text


def _entity(entity: str) -> str:
    """Return one entity's character; of names in capitals too where HTML has none such."""
    if entity[1] == "#":
        read = html.unescape(entity)
        return entity if ";" in read else read
    name = entity[1:]
    return html.entities.html5.get(name) or _capital_entities().get(name, entity)


@cache
def _capital_entities() -> Mapping[str, str]:
    small = ((name, text) for name, text in html.entities.html5.items() if name.endswith(";") and name.islower())
    return {n.upper(): text.upper() for n, text in small if html.unescape(f"&{n.upper()}") == f"&{n.upper()}"}


# --- texts read in a wrong encoding -------------------------------------------------------------

_PARTS = ("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257")  # looked for in parts of a text
_WHOLES = ("iso8859-2", "mac-roman", "cp437")  # ftfy takes a text for one of these only as a whole
_UTF8 = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
    rb"|[\xc2-\xdf]\x1a|[\xe0-\xef][\x80-\xbf]?\x1a|[\xf0-\xf4][\x80-\xbf]{,2}\x1a"  # with a mark for a lost byte
)
# With a space for the byte A0: of European texts alone, as in "A~ la".
_SPACED = re.compile(
    rb"[\xc2\xc3\xc5] |[\xe2\xe3] [\x80-\xbf]|[\xe0-\xe3][\x80-\xbf] |\xf0(?=[\x80-\xbf]* )[\x80-\xbf ]{3}"
)


def misread(text: str) -> bool:
    """Return whether a text, written in one of the usual 8-bit encodings, has UTF-8's sequences in it.

    Then it may have been UTF-8 that was read in that encoding. ftfy looks closer, and leaves most of these as they are.
    """
    lines = (line for form in (text, fix_text(text)) if not form.isascii() for line in form.split("\n"))
    return any(_misread(line) for line in lines if not line.isascii())


def _misread(text: str) -> bool:
    if any(_UTF8.search(_bytes(text, codec)) for codec in _PARTS) or _SPACED.search(_bytes(text, "cp1252")):
        return True
    wholes = (_UTF8.sub(b"", _SPACED.sub(b"", _bytes(text, codec))) for codec in _WHOLES)
    return any(left.isascii() and b"\0" not in left for left in wholes)


def _bytes(text: str, codec: str) -> bytes:
    """Encode a text in an 8-bit encoding: C1 controls by their numbers, a lost character as 1A, what it lacks as 0."""
    return b"".join(_byte(character, codec) for character in text)


@lru_cache(maxsize=2**14)
def _byte(character: str, codec: str) -> bytes:
    try:
        return b"\x1a" if character == "\ufffd" else character.encode(codec)
    except UnicodeEncodeError:
        return bytes([ord(character)]) if 0x80 <= ord(character) <= 0x9F else b"\0"
