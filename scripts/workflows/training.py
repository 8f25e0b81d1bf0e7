"""The example workflows that train: DDPO on the small SDXL model, and on the unconditional one."""

from __future__ import annotations

from typing import Any

from .builder import Group, Node, build
from .model import AMBER, BLUE, GREEN

COLOURS = ("red", "blue", "green", "white", "yellow", "purple", "orange", "pink")
_GROUNDS = ("red", "blue", "green", "white", "yellow", "purple", "pink")
_SHAPES = ("circle", "star", "square", "ring", "moon", "triangle")  # hearts and crosses are never practised on


def _at_the_top(colour: str, shape: str, background: str) -> str:
    return f"a small {colour} {shape} at the top of a {background} background"


PRACTICE = "\n".join(  # each colour three times, each shape four times
    _at_the_top(colour, _SHAPES[(i + 2 * k) % 6], _GROUNDS[(i + 2 * k + 1) % 7])
    for k in range(3)
    for i, colour in enumerate(COLOURS)
)
HELD_OUT = "\n".join(
    _at_the_top(*words)
    for words in (
        ("red", "cross", "blue"),
        ("white", "heart", "purple"),
        ("yellow", "heart", "green"),
        ("green", "cross", "pink"),
    )
)

FINETUNE_NOTE = """## Teach a model your taste

The small model that comes with the pack gets colours and shapes right, and ignores words for places:
it paints *at the top* wherever it likes. The reward reads them. So the reward can teach it.

1. **Load** a model and a reward.
2. **Prompts**: what to practise on.
3. **Fine-Tune** paints 128 pictures an epoch, has the reward score them, and makes what led to the
   better ones more likely (DDPO, reinforcement learning). Watch the curves on the node.
4. **Sample** the model as it was and as it is, with shapes it never practised on, from the same seeds.
5. **Compare** says who wins, and how sure that is.

The 16 epochs of this example take about seven minutes on two processor cores. In the picture of this template the
tuned model won 79% of 24 pairs (60 to 91%) of hearts and crosses, which it never practised on. For more raise
**epochs** and press **Run** again: it goes on where it stopped. When pictures break, lower **learning_rate**, with
a new run name.

Cancel whenever you like: what was learned is in `output/tastemaker/runs/` under the run's name, and
Run goes on from there. The LoRA is in that folder too, for any ComfyUI.

For SDXL pick the **preset** for your card and a learning rate of 0.0003, and leave it the night.
When the reward rises and the pictures get worse, read the help of **Fine-Tune** (the ? above the node).
"""

UNCONDITIONAL_NOTE = """## Teach a model that reads no text

`tiny-ddpm` paints whatever it likes, as google/ddpm-church-256 does. Here the reward is arithmetic:
**jpeg-compressibility**, minus the size of the picture as a JPEG file. Smooth pictures win.

It is the first example of the DDPO paper, and shows learning and its danger alike: after these 8 epochs
the files are a third smaller, and the shapes are gone, since nothing in this reward asks for one. Set
**epochs** to 4, with a new run name, and look again.

Then try **tiny-imagereward**, and connect a **Prompts** to **Fine-Tune** with the one thing you want to
see more of.
"""

TRAINING = {"samples_per_epoch": 128, "steps": 8, "learning_rate": 1.2e-3, "rank": 16, "preset": "CPU"}
SAMPLING = {"images_per_prompt": 6, "seed": 1000, "steps": 20, "guidance_scale": 3.0}


def _before_and_after(
    model: Node, tuned: Node, reward: Node, sampling: dict[str, Any], prompts: Node | None, judged_by: Node | None
) -> list[Node]:
    """Sample, Score for the model as it was and as it is, then Compare."""
    made: list[Node] = []
    for row, (title, source) in enumerate((("as it was", model), ("as it is", tuned))):
        wires = {"model": (source, "model")} | ({"prompts": (prompts, "prompts")} if prompts else {})
        sample = Node("TastemakerSample", (1260, 80 + 690 * row), (300, 640), sampling, wires, title=f"Sample {title}")
        scored = {"images": (sample, "images"), "reward": (reward, "reward"), "prompts": (sample, "prompts")}
        if judged_by is not None:
            scored |= {"prompts": (judged_by, "prompts"), "made_with": (sample, "prompts")}
        made += [
            sample,
            Node("TastemakerScore", (1610, 80 + 690 * row), (230, 130), {}, scored, title=f"Score {title}"),
        ]
    tables = {"before": (made[1], "scores"), "after": (made[3], "scores")}
    return [*made, Node("TastemakerCompare", (1890, 80), (620, 640), {"pairs": 12}, tables)]


def _groups() -> list[Group]:
    return [
        Group("1  Choose", (320, 0, 340, 640), BLUE),
        Group("2  Learn", (700, 0, 500, 1500), GREEN),
        Group("3  Compare", (1240, 0, 1290, 1430), AMBER),
    ]


def ddpo_finetune(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", (340, 80), (300, 90), {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", (340, 250), (300, 90), {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", (340, 420), (300, 190), {"text": PRACTICE}, title="what to practise on")
    unseen = Node("TastemakerPrompts", (340, 680), (300, 170), {"text": HELD_OUT}, title="what it never practised on")
    wires = {"model": (model, "model"), "reward": (reward, "reward"), "prompts": (prompts, "prompts")}
    values = {"run_name": "at the top", **TRAINING, "epochs": 16}
    tune = Node("TastemakerFineTune", (720, 80), (460, 960), values, wires)
    curve = Node("TastemakerRewardCurve", (720, 1110), (460, 360), {}, {"report": (tune, "report")})
    compared = _before_and_after(model, tune, reward, SAMPLING, unseen, None)
    note = Node("MarkdownNote", (-60, 40), (340, 560), {"text": FINETUNE_NOTE})
    groups = [Group("1  Choose", (320, 0, 340, 870), BLUE), *_groups()[1:]]
    return build("ddpo_finetune", [note, model, reward, prompts, unseen, tune, curve, *compared], groups, info)


def ddpo_unconditional(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", (340, 80), (300, 90), {"model": "tiny-ddpm"})
    reward = Node("TastemakerLoadReward", (340, 250), (300, 90), {"reward": "jpeg-compressibility"})
    wires = {"model": (model, "model"), "reward": (reward, "reward")}
    values = {"run_name": "smooth", **TRAINING, "epochs": 8, "samples_per_epoch": 64, "learning_rate": 4e-3}
    tune = Node("TastemakerFineTune", (720, 80), (460, 960), values, wires)
    curve = Node("TastemakerRewardCurve", (720, 1110), (460, 360), {}, {"report": (tune, "report")})
    sampling = {"images_per_prompt": 16, "seed": 1000, "scheduler": "ddim", "steps": 20, "eta": 1.0}
    compared = _before_and_after(model, tune, reward, sampling, None, None)
    note = Node("MarkdownNote", (-60, 40), (340, 380), {"text": UNCONDITIONAL_NOTE})
    return build("ddpo_unconditional", [note, model, reward, tune, curve, *compared], _groups(), info)
