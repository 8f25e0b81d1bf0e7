"""The example workflows that ask for models people download: Playground v2, SDXL, its refiner, a LoRA."""

from __future__ import annotations

from typing import Any

from .builder import build
from .layout import Frame, Node, lay_out
from .theme import AMBER, BLUE, GREEN

PLAYGROUND, BASE = "playground-v2.fp16.safetensors", "sd_xl_base_1.0.safetensors"
REFINER, LORA = "sd_xl_refiner_1.0.safetensors", "sd_xl_offset_example-lora_1.0.safetensors"
LARGE = {"scheduler": "model default", "height": 1024, "width": 1024, "images_per_prompt": 2}

PLAYGROUND_NOTE = """## Playground v2

Painterly pictures of 1024 x 1024 pixels.

1. **Load Taste Model** wants *playground-v2.fp16.safetensors* (6.9 GB) in *models/checkpoints*. If
   you do not have it, ComfyUI offers to get it, and the node's error has the command.
2. **Prompts**: one a line. Say what is in the picture, then how it looks.
3. **Sample** makes 2 pictures of each prompt. Playground likes a low **guidance_scale** of 3, and
   *model default* is the scheduler it was made with.
4. **Save Image** puts them into *output/tastemaker*.

Try a **negative_prompt** such as *blurry, text*. Give a word more weight like this: *(golden light:1.3)*.

Each picture has a seed of its own: the first is the number in **seed**, the next is one more. So a
good one can be made again: set **seed** to its number and **images_per_prompt** to 1, and leave
only its prompt.

Check the Playground v2 Community License before you sell pictures.
"""

REFINER_NOTE = """## What the refiner does

SDXL comes as two models: the base makes the picture, the refiner works out skin, hair and leaves in
the last fifth of the noise.

- the left **Sample** uses the base alone,
- the right one hands its last steps to the refiner.

Both use the same seeds, so **Image Stitch** puts each pair side by side: left without, right with
the refiner.

Look closely before you keep it: many models made from SDXL are better without.

**Sample Options** moves the hand-over: a smaller *refiner_start* leaves the refiner more to do.

Both files (6.9 and 6.1 GB) belong in *models/checkpoints*. ComfyUI offers to get what is not there.
"""

LORA_NOTE = """## With and without a LoRA

A LoRA is a small file that teaches a model one thing. This one (0.05 GB, in *models/loras*) teaches
SDXL deep shadows and bright light.

The model goes straight to the left **Sample**, and through **Load Taste LoRA** to the right one.
Neither notices the other. Same seeds, side by side: left without, right with it.

- **strength** 0 is off, 1 is as it was trained; try 0.5, and -0.5 for the opposite.
- For more LoRAs put more **Load Taste LoRA** one after the other.
- Your own: put them into *models/loras* and reload the page. A LoRA must be made for SDXL.
"""


def playground_v2(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": PLAYGROUND})
    text = (
        "a lighthouse on a cliff above a stormy sea, golden light, oil painting\n"
        "portrait of an old fisherman, soft window light, film photograph"
    )
    prompts = Node("TastemakerPrompts", {"text": text}, size=(320, 220))
    sample = Node(
        "TastemakerSample",
        LARGE | {"seed": 7, "steps": 30, "guidance_scale": 3.0},
        {"model": (model, "model"), "prompts": (prompts, "prompts")},
    )
    save = _save("playground_v2", sample, "images")
    note = Node("MarkdownNote", {"text": PLAYGROUND_NOTE}, size=(390, 600))
    groups = lay_out(
        [[note], [model, prompts], [sample], [save]],
        [
            Frame("1  Choose", BLUE, [model, prompts]),
            Frame("2  Make", GREEN, [sample]),
            Frame("3  Keep", AMBER, [save]),
        ],
    )
    return build("playground_v2", [note, model, prompts, sample, save], groups, info)


def refiner(info: dict[str, Any]) -> dict[str, Any]:
    base = Node("TastemakerLoadModel", {"model": BASE}, title="Load the base")
    refining = Node("TastemakerLoadModel", {"model": REFINER}, title="Load the refiner")
    text = "close portrait of a woman with freckles and wind in her red hair, photo\na heron in reeds, morning mist"
    prompts = Node("TastemakerPrompts", {"text": text})
    wires = {"model": (base, "model"), "prompts": (prompts, "prompts")}
    first, second = _two_samples(wires, wires | {"refiner": (refining, "model")}, ("base alone", "base, then refiner"))
    return _side_by_side("refiner", REFINER_NOTE, [base, refining, prompts], first, second, info)


def lora(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": BASE})
    changed = Node("TastemakerLoadLoRA", {"lora": LORA, "strength": 0.7}, {"model": (model, "model")})
    text = "a lantern in a dark forest, photograph\na fox asleep in the snow, children's book illustration"
    prompts = Node("TastemakerPrompts", {"text": text})
    wires = {"model": (model, "model"), "prompts": (prompts, "prompts")}
    first, second = _two_samples(wires, wires | {"model": (changed, "model")}, ("without the LoRA", "with the LoRA"))
    return _side_by_side("lora", LORA_NOTE, [model, changed, prompts], first, second, info)


def _two_samples(first: dict[str, Any], second: dict[str, Any], titles: tuple[str, str]) -> tuple[Node, Node]:
    """Two Sample nodes that differ in their wires only."""
    settings = LARGE | {"seed": 21, "steps": 30, "guidance_scale": 5.0}
    return (
        Node("TastemakerSample", settings, first, title=f"Sample: {titles[0]}"),
        Node("TastemakerSample", settings, second, title=f"Sample: {titles[1]}"),
    )


def _side_by_side(
    name: str, text: str, chosen: list[Node], first: Node, second: Node, info: dict[str, Any]
) -> dict[str, Any]:
    stitch = Node(
        "ImageStitch",
        {"spacing_width": 16},
        {"image1": (first, "images"), "image2": (second, "images")},
        title="Image Stitch: left without, right with",
    )
    save = _save(name, stitch, "IMAGE")
    note = Node("MarkdownNote", {"text": text}, size=(500, 370))
    groups = lay_out(
        [[note, *chosen], [first], [second], [stitch, save]],
        [
            Frame("1  Choose", BLUE, chosen),
            Frame("2  Make", GREEN, [first, second]),
            Frame("3  Compare and keep", AMBER, [stitch, save]),
        ],
    )
    return build(name, [note, *chosen, first, second, stitch, save], groups, info)


def _save(name: str, source: Node, output: str) -> Node:
    return Node("SaveImage", {"filename_prefix": f"tastemaker/{name}"}, {"images": (source, output)})
