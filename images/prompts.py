"""The prompt a picture was made with, from the texts inside its file. Nothing in them is trusted.

Known: our own `tastemaker` record, ComfyUI's `prompt` (the graph it was made by), and the `parameters`
of AUTOMATIC1111's web UI and its kin.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..core.errors import InputError
from ..core.texts import check_prompts
from .graph import saved_by, usable_seed
from .limits import MAX_TEXT_BYTES

if TYPE_CHECKING:
    from PIL import Image

METADATA_KEY = "tastemaker"  # the PNG text chunk that holds a saved picture's record
SHEET_KEY = "tastemaker_sheet"  # marks a contact sheet, so that nobody ranks it as a picture
KEYWORDS = (METADATA_KEY, "prompt", "parameters")
_EXIF_IFD, _USER_COMMENT, _MODEL = 0x8769, 0x9286, 0x0110
_UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, struct.error, EOFError)
_PARAMETERS = re.compile(r"^(?:Negative prompt:|Steps: ?\d+\s*,)", re.MULTILINE)
_SEED = re.compile(r"\bSeed: ?(\d{1,20})\b")


class Found(NamedTuple):
    """What was found out about one picture.

    Attributes:
        prompt: empty where there is none.
        seed: None where unknown.
        why: why there is no prompt, in half a sentence; empty where there is one.
    """

    prompt: str
    seed: int | None
    why: str


def find_prompt(texts: Mapping[str, str]) -> Found:
    """Find the prompt and seed of a picture in its file's texts (keyword -> text). Never raises."""
    why = "no prompt in the file"
    for keyword, read in ((METADATA_KEY, _record), ("prompt", _graph), ("parameters", _from_parameters)):
        if keyword not in texts:
            continue
        found = read(texts[keyword])
        if found.prompt:
            return _usable(found)
        why = found.why or why
    return Found("", None, why)


def exif_texts(picture: Image.Image) -> dict[str, str]:
    """Find the same keywords in a JPEG's or WebP's EXIF: the web UI's comment, ComfyUI's "prompt:" in Model."""
    try:
        exif = picture.getexif()
        comment, model = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT), exif.get(_MODEL)
    except _UNREADABLE:
        return {}
    texts = {}
    if isinstance(model, str) and model.startswith("prompt:"):
        texts["prompt"] = model.removeprefix("prompt:")
    if isinstance(comment, bytes) and len(comment) <= MAX_TEXT_BYTES:
        found = _user_comment(comment)
        if found:
            texts["parameters"] = found
    return texts


def _user_comment(data: bytes) -> str:
    """EXIF's UserComment: eight bytes that name the encoding, then the text (EXIF 2.32, section 4.6.5)."""
    head, body = data[:8], data[8:]
    codecs = ("ascii",) if head.startswith(b"ASCII") else ("utf-16-be", "utf-16-le")
    for codec in codecs if head.startswith((b"ASCII", b"UNICODE")) else ():
        try:
            text = body.decode(codec).rstrip("\0")
        except UnicodeDecodeError:
            continue
        # the byte order is written nowhere: of the two the one with the words that belong there
        if codec == codecs[-1] or _PARAMETERS.search(text):
            return text
    return ""


def caption(text: str) -> Found:
    """Read the text of a sidecar file: a caption, or `parameters` as the web UI writes them beside a picture."""
    if _PARAMETERS.search(text):
        return _usable(_from_parameters(text))
    text = text.strip()
    return _usable(Found(text, None, "" if text else "its .txt file is empty"))


def _usable(found: Found) -> Found:
    try:
        check_prompts([found.prompt])
    except InputError as e:
        return Found("", found.seed, f"its prompt cannot be used: {e}")
    return found


def _json(text: str) -> Any:
    """Return what a text holds as JSON; None where it holds none."""
    if len(text) > MAX_TEXT_BYTES:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _record(text: str) -> Found:
    """Our own chunk: the record of one row."""
    content = _json(text)
    prompt = content.get("prompt") if isinstance(content, dict) else None
    if not isinstance(prompt, str):
        return Found("", None, "its tastemaker record cannot be read")
    return Found(prompt, usable_seed(content.get("seed")), "" if prompt else "it was scored without a prompt")


def _from_parameters(text: str) -> Found:
    """`parameters`: the prompt, then lines that start with "Negative prompt:" and "Steps:"."""
    start = _PARAMETERS.search(text)
    prompt = (text[: start.start()] if start else text).strip()
    seed = _SEED.search(text, start.start()) if start else None
    return Found(prompt, usable_seed(int(seed.group(1))) if seed else None, "" if prompt else "its prompt is empty")


def _graph(text: str) -> Found:
    """ComfyUI's graph: from the last sampler along its positive input to a text."""
    made = saved_by(_json(text))
    return Found(made.prompt, made.seed, f"its {made.why}" if made.why else "")
