"""What a picture was made with, read from a ComfyUI graph in API form. Nothing is run, nothing in it is trusted.

The graph of a saved picture (`saved_by`), or the one that runs now (`made_by`): back from the pictures to their
sampler, along its positive input to a text, and to its seed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..core.errors import InputError
from ..core.texts import MAX_PROMPT_CHARACTERS, check_prompts
from .limits import MAX_GRAPH_DEPTH, MAX_GRAPH_NODES

_MAX_SEED = 2**64
_SHOWN = 60  # characters of a class's name
_OURS = "TastemakerSample"

# inputs that hold a text, or a link to one, in the order they are asked for
_TEXT_INPUTS = (
    *("text", "text_g", "t5xxl", "clip_l", "text_l", "prompt", "value", "string", "text1", "positive_prompt"),
    *("user_prompt", "bert", "clip_g"),
)
# inputs of nodes that change a conditioning, which lead on to the one it was made from
_CONDITIONING_INPUTS = ("conditioning", "conditioning_1", "conditioning_to", "positive", "cond1", "guider")
_SEED_INPUTS = ("seed", "noise_seed")
_NUMBER_INPUTS = (*_SEED_INPUTS, "value", "int")  # of a node that a seed comes from
_NOISE_INPUTS = {"latent_image", "latent", "noise", *_SEED_INPUTS}
_SAVERS = ("SaveImage", "PreviewImage", "TastemakerSaveRanked")
# core nodes that give as many pictures as they take, in their order, and the input these come by
_ONE_FOR_ONE = {
    **dict.fromkeys(("VAEDecode", "VAEDecodeTiled"), "samples"),
    **dict.fromkeys(("ImageScale", "ImageScaleBy", "ImageScaleToTotalPixels", "ImageUpscaleWithModel"), "image"),
    **dict.fromkeys(("ImageSharpen", "ImageBlur", "ImageInvert", "ImageQuantize"), "image"),
}


class Made(NamedTuple):
    """What was found out about the pictures of a graph.

    Attributes:
        prompt: empty where it cannot be told.
        seed: None where it cannot be told.
        why: why there is no prompt, in half a sentence; empty where there is one.
        sampler: the class of the node that made them; empty where that cannot be told.
        in_order: whether the pictures are the sampler's own, as many and in the order it made them.
    """

    prompt: str
    seed: int | None
    why: str
    sampler: str = ""
    in_order: bool = False


def usable_seed(value: Any) -> int | None:
    """Return a seed as ComfyUI takes it, from 0 to 2**64 - 1; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MAX_SEED else None


def saved_by(content: Any) -> Made:
    """Find the prompt and seed of a picture that a graph saved: of the last sampler. Never raises."""
    graph = _read(content)
    if graph is None:
        return Made("", None, "its ComfyUI graph cannot be read")
    sampler = graph.last_sampler()
    if sampler is None:
        return Made("", None, "its ComfyUI graph has no sampler that is known here")
    prompt = graph.positive(sampler)
    if prompt is None:
        return Made("", None, "the text its sampler was given cannot be told from its ComfyUI graph")
    return Made(prompt.strip(), graph.seed(sampler), "" if prompt.strip() else "its prompt is empty")


def made_by(content: Any, node: str, name: str) -> Made:
    """Find the prompt and seed of the pictures that arrive at a node's input. Never raises.

    Nothing is guessed: a text that another node computes is not told by what that node was given, and several samplers
    behind one input must agree.

    Args:
        content: the graph that runs, in API form.
        node: the id of the node that asks.
        name: its input that the pictures arrive at.
    """
    graph = _read(content, careful=True)
    link = graph.link(node, name) if graph is not None and node in graph.nodes else None
    if graph is None or link is None:
        return Made("", None, "the graph does not say where the pictures come from")
    samplers = graph.samplers_behind([link[0]])
    if not samplers:
        return Made("", None, "no sampler that is known here made the pictures")
    kind = graph.nodes[samplers[0]]["class_type"][:_SHOWN]
    texts = {graph.positive(sampler) for sampler in samplers}
    seed = graph.seed(samplers[0]) if len(samplers) == 1 else None
    found = Made("", seed, "", kind, len(samplers) == 1 and graph.in_order(link[0], samplers[0]))
    if len(texts) > 1:
        return found._replace(why=f"{len(samplers)} samplers with different texts made the pictures")
    prompt = texts.pop()
    if prompt is None:
        return found._replace(why=f"the positive text of {kind} is computed by other nodes, or there are several")
    try:
        check_prompts([prompt])
    except InputError as e:
        return found._replace(why=f"the positive text of {kind} cannot be used: {e}")
    prompt = prompt.strip()
    return found._replace(prompt=prompt, why="" if prompt else f"the positive text of {kind} is empty")


def _read(content: Any, *, careful: bool = False) -> _Graph | None:
    if not isinstance(content, dict) or len(content) > MAX_GRAPH_NODES:
        return None
    return _Graph({str(name): node for name, node in content.items() if _is_node(node)}, careful=careful)


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


class _Graph:
    """The API form of a ComfyUI graph: node id -> class and inputs; a link is [node id, output].

    `careful`: what a node holds is its text only where nothing else goes into it.
    """

    def __init__(self, nodes: dict[str, dict[str, Any]], *, careful: bool) -> None:
        self.nodes, self._careful = nodes, careful
        self._visits = MAX_GRAPH_NODES  # texts joined from texts joined from texts would never end

    def link(self, node: str, name: str) -> tuple[str, int] | None:
        """Where an input's link leads: (node, output); None for a plain value."""
        value = self.nodes[node]["inputs"].get(name)
        linked = isinstance(value, list) and len(value) == 2 and isinstance(value[1], int)
        if not linked or not isinstance(value[0], (str, int)) or str(value[0]) not in self.nodes:
            return None
        return str(value[0]), value[1]

    def _links(self, node: str) -> list[tuple[str, int]]:
        found = [self.link(node, name) for name in self.nodes[node]["inputs"]]
        return [link for link in found if link is not None]

    def _is_sampler(self, node: str) -> bool:
        kind, inputs = self.nodes[node]["class_type"], self.nodes[node]["inputs"]
        if kind == _OURS:
            return True
        guided = self.link(node, "positive") or self.link(node, "guider")
        return "ampler" in kind and guided is not None and not _NOISE_INPUTS.isdisjoint(inputs)

    def last_sampler(self) -> str | None:
        """Find the sampler nearest to where pictures leave the graph."""
        linked = {link[0] for name in self.nodes for link in self._links(name)}
        ends = [name for name, node in self.nodes.items() if node["class_type"] in _SAVERS]
        ends = ends or [name for name in self.nodes if name not in linked]
        return next(iter(self.samplers_behind(ends or list(self.nodes))), None)

    def samplers_behind(self, starts: list[str]) -> list[str]:
        """Find the samplers that nodes lead back to without passing another sampler, the nearest first."""
        found, seen, row = [], set(starts), starts
        while row:
            samplers = [name for name in row if self._is_sampler(name)]
            found += samplers
            behind = dict.fromkeys(link[0] for name in row if name not in samplers for link in self._links(name))
            row = [name for name in behind if name not in seen]
            seen.update(row)
        return found

    def in_order(self, node: str, sampler: str) -> bool:
        """Whether only nodes that keep number and order stand between a sampler and a node."""
        for _ in range(MAX_GRAPH_DEPTH):
            if node == sampler:
                return True
            link = self.link(node, _ONE_FOR_ONE.get(self.nodes[node]["class_type"], ""))
            if link is None:
                return False
            node = link[0]
        return False

    def seed(self, sampler: str) -> int | None:
        """Find the seed of a sampler's noise; Tastemaker's Sample gives each picture another, so none for it."""
        for _ in range(MAX_GRAPH_DEPTH):
            inputs = self.nodes[sampler]["inputs"]
            if self.nodes[sampler]["class_type"] == _OURS:
                return None
            source = self.link(sampler, "noise")
            unmade = self.nodes[source[0]]["class_type"] == "DisableNoise" if source else False
            if not unmade and inputs.get("add_noise", True) not in ("disable", False):
                return self._number(source[0] if source else sampler, _SEED_INPUTS)
            latents = self.link(sampler, "latent_image")  # it goes on with another's noise
            behind = self.samplers_behind([latents[0]]) if latents else []
            if len(behind) != 1:
                return None
            sampler = behind[0]
        return None

    def _number(self, node: str, names: tuple[str, ...]) -> int | None:
        """Find the number a node holds, or is linked to, by the first of these inputs that it has."""
        for _ in range(MAX_GRAPH_DEPTH):
            inputs = self.nodes[node]["inputs"]
            name = next((name for name in names if name in inputs), "")
            link = self.link(node, name)
            if link is None:
                return usable_seed(inputs.get(name))
            node, names = link[0], _NUMBER_INPUTS
        return None

    def positive(self, sampler: str) -> str | None:
        """Find the one text a sampler's positive conditioning was made from."""
        if self.nodes[sampler]["class_type"] == _OURS:
            link = self.link(sampler, "prompts")
            if link is None:
                return None
            if self.nodes[link[0]]["class_type"] == "TastemakerPrompts":
                return self._only_line(link[0])
            return self._text(*link, depth=0)
        link = self.link(sampler, "positive") or self.link(sampler, "guider")
        return None if link is None else self._conditioning(*link)

    def _only_line(self, node: str) -> str | None:
        """Our Prompts node: one a line. Of several nobody knows which was this picture's."""
        text = self.nodes[node]["inputs"].get("text")
        if not isinstance(text, str):
            link = self.link(node, "text")
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
            if self.nodes[node]["class_type"] == "ConditioningZeroOut":
                return ""
            if isinstance(inputs.get("positive"), str):  # loaders that encode both texts themselves
                return inputs["positive"]
            # a node that takes and gives both (ControlNetApplyAdvanced): the second output is the negative
            names = ("negative",) if output == 1 and "negative" in inputs else _CONDITIONING_INPUTS
            link = next((found for name in names if (found := self.link(node, name))), None)
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
        if self._careful and depth and self._computes(node):
            return None
        for name in _TEXT_INPUTS:
            if name in inputs:
                found = self._part(node, name, depth)
                if found is not None:
                    return found
        return None

    def _computes(self, node: str) -> bool:
        """Whether a node that a text comes from makes it out of more than texts: by chance, a picture or a model."""
        inputs = self.nodes[node]["inputs"]
        other = (name for name in inputs if name not in _TEXT_INPUTS)
        return not inputs.keys().isdisjoint(_SEED_INPUTS) or any(self.link(node, name) for name in other)

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
        link = self.link(node, name)
        return self._text(*link, depth=depth + 1) if link else None
