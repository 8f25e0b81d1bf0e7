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
from ..core.texts import MAX_PROMPT_CHARACTERS, check_prompts
from .limits import MAX_GRAPH_DEPTH, MAX_GRAPH_NODES, MAX_TEXT_BYTES

if TYPE_CHECKING:
    from PIL import Image

METADATA_KEY = "tastemaker"  # the PNG text chunk that holds a saved picture's record
SHEET_KEY = "tastemaker_sheet"  # marks a contact sheet, so that nobody ranks it as a picture
KEYWORDS = (METADATA_KEY, "prompt", "parameters")
_MAX_SEED = 2**64
_EXIF_IFD, _USER_COMMENT, _MODEL = 0x8769, 0x9286, 0x0110
_UNREADABLE = (OSError, ValueError, SyntaxError, TypeError, IndexError, KeyError, struct.error, EOFError)
_PARAMETERS = re.compile(r"^(?:Negative prompt:|Steps: ?\d+\s*,)", re.MULTILINE)
_SEED = re.compile(r"\bSeed: ?(\d{1,20})\b")

# inputs that hold a text, or a link to one, in the order they are asked for
_TEXT_INPUTS = ("text", "text_g", "t5xxl", "clip_l", "text_l", "prompt", "value", "string", "text1", "positive_prompt")
# inputs of nodes that change a conditioning, which lead on to the one it was made from
_CONDITIONING_INPUTS = ("conditioning", "conditioning_1", "conditioning_to", "positive", "guider")
_NOISE_INPUTS = {"latent_image", "latent", "noise_seed", "seed", "noise"}
_SAVERS = ("SaveImage", "PreviewImage", "TastemakerSaveRanked")


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


def _seed(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_SEED else None


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
    return Found(prompt, _seed(content.get("seed")), "" if prompt else "it was scored without a prompt")


def _from_parameters(text: str) -> Found:
    """`parameters`: the prompt, then lines that start with "Negative prompt:" and "Steps:"."""
    start = _PARAMETERS.search(text)
    prompt = (text[: start.start()] if start else text).strip()
    seed = _SEED.search(text, start.start()) if start else None
    return Found(prompt, _seed(int(seed.group(1))) if seed else None, "" if prompt else "its prompt is empty")


def _graph(text: str) -> Found:
    """ComfyUI's graph: from the last sampler along its positive input to a text."""
    content = _json(text)
    if not isinstance(content, dict) or len(content) > MAX_GRAPH_NODES:
        return Found("", None, "its ComfyUI graph cannot be read")
    graph = _Graph({str(name): node for name, node in content.items() if _is_node(node)})
    sampler = graph.last_sampler()
    if sampler is None:
        return Found("", None, "its ComfyUI graph has no sampler that is known here")
    prompt = graph.positive(sampler)
    if prompt is None:
        return Found("", None, "the text its sampler was given cannot be told from its ComfyUI graph")
    return Found(prompt.strip(), graph.seed(sampler), "" if prompt.strip() else "its prompt is empty")


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


class _Graph:
    """The API form of a ComfyUI graph: node id -> class and inputs; a link is [node id, output]."""

    def __init__(self, nodes: dict[str, dict[str, Any]]) -> None:
        self.nodes = nodes
        self._visits = MAX_GRAPH_NODES  # texts joined from texts joined from texts would never end

    def _link(self, node: str, name: str) -> tuple[str, int] | None:
        """Where an input's link leads: (node, output); None for a plain value."""
        value = self.nodes[node]["inputs"].get(name)
        linked = isinstance(value, list) and len(value) == 2 and isinstance(value[1], int)
        if not linked or not isinstance(value[0], (str, int)) or str(value[0]) not in self.nodes:
            return None
        return str(value[0]), value[1]

    def _links(self, node: str) -> list[tuple[str, int]]:
        found = [self._link(node, name) for name in self.nodes[node]["inputs"]]
        return [link for link in found if link is not None]

    def _is_sampler(self, node: str) -> bool:
        kind, inputs = self.nodes[node]["class_type"], self.nodes[node]["inputs"]
        if kind == "TastemakerSample":
            return True
        guided = self._link(node, "positive") or self._link(node, "guider")
        return "ampler" in kind and guided is not None and not _NOISE_INPUTS.isdisjoint(inputs)

    def last_sampler(self) -> str | None:
        """Find the sampler nearest to where pictures leave the graph."""
        linked = {link[0] for name in self.nodes for link in self._links(name)}
        ends = [name for name, node in self.nodes.items() if node["class_type"] in _SAVERS]
        ends = ends or [name for name in self.nodes if name not in linked]
        seen, row = set(ends), ends or list(self.nodes)
        while row:
            for name in row:
                if self._is_sampler(name):
                    return name
            behind = dict.fromkeys(link[0] for name in row for link in self._links(name))
            row = [name for name in behind if name not in seen]
            seen.update(row)
        return None

    def seed(self, sampler: str) -> int | None:
        """Find the seed a sampler was given; Tastemaker's Sample gives each picture another, so none for it."""
        if self.nodes[sampler]["class_type"] == "TastemakerSample":
            return None
        source = self._link(sampler, "noise")
        inputs = self.nodes[source[0] if source else sampler]["inputs"]
        return _seed(inputs.get("seed", inputs.get("noise_seed")))

    def positive(self, sampler: str) -> str | None:
        """Find the one text a sampler's positive conditioning was made from."""
        if self.nodes[sampler]["class_type"] == "TastemakerSample":
            link = self._link(sampler, "prompts")
            if link is None:
                return None
            if self.nodes[link[0]]["class_type"] == "TastemakerPrompts":
                return self._only_line(link[0])
            return self._text(*link, depth=0)
        link = self._link(sampler, "positive") or self._link(sampler, "guider")
        return None if link is None else self._conditioning(*link)

    def _only_line(self, node: str) -> str | None:
        """Our Prompts node: one a line. Of several nobody knows which was this picture's."""
        text = self.nodes[node]["inputs"].get("text")
        if not isinstance(text, str):
            link = self._link(node, "text")
            text = self._text(*link, depth=0) if link else ""
        lines = [line.strip() for line in (text or "").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        return lines[0] if len(lines) == 1 else None

    def _conditioning(self, node: str, output: int) -> str | None:
        """Back along a conditioning to the node with a text."""
        for _ in range(MAX_GRAPH_DEPTH):
            text = self._text(node, output, depth=0)
            if text is not None:
                return text
            inputs = self.nodes[node]["inputs"]
            if isinstance(inputs.get("positive"), str):  # loaders that encode both texts themselves
                return inputs["positive"]
            # a node that takes and gives both (ControlNetApplyAdvanced): the second output is the negative
            names = ("negative",) if output == 1 and "negative" in inputs else _CONDITIONING_INPUTS
            link = next((found for name in names if (found := self._link(node, name))), None)
            if link is None:
                return None
            node, output = link
        return None

    def _text(self, node: str, output: int, *, depth: int) -> str | None:
        """Find the text a node holds or is linked to; None for a node without one."""
        self._visits -= 1
        if depth > MAX_GRAPH_DEPTH or self._visits < 0:
            return None
        inputs = self.nodes[node]["inputs"]
        if {"string_a", "string_b"} <= inputs.keys():  # core's Concatenate
            return self._joined(node, depth)
        for name in _TEXT_INPUTS:
            if name in inputs:
                found = self._part(node, name, depth)
                if found is not None:
                    return found
        return None

    def _joined(self, node: str, depth: int) -> str | None:
        """Two texts as one; None where one is not known, or for more than a prompt holds, which copies nothing."""
        parts = [self.nodes[node]["inputs"].get("delimiter", "")]
        for name in ("string_a", "string_b"):
            parts.append(self._part(node, name, depth))
            if not all(isinstance(part, str) for part in parts) or sum(map(len, parts)) > MAX_PROMPT_CHARACTERS:
                return None
        delimiter, first, second = parts
        return first + delimiter + second

    def _part(self, node: str, name: str, depth: int) -> str | None:
        value = self.nodes[node]["inputs"].get(name)
        if isinstance(value, str):
            return value
        link = self._link(node, name)
        return self._text(*link, depth=depth + 1) if link else None
