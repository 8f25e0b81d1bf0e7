"""The example workflows that train: the small SDXL model by the way that suits it, the unconditional one by DDPO."""

from __future__ import annotations

from typing import Any

from .builder import App, build
from .layout import Frame, Group, Node, lay_out
from .theme import AMBER, BLUE, GREEN, PRACTISED

_GROUNDS = ("red", "blue", "green", "white", "yellow", "purple", "pink")
_SHAPES = ("circle", "star", "square", "ring", "moon", "triangle")  # hearts and crosses are never practised on


def _at_the_top(colour: str, shape: str, background: str) -> str:
    return f"a small {colour} {shape} at the top of a {background} background"


PRACTICE = "\n".join(  # each colour three times, each shape four times
    _at_the_top(colour, _SHAPES[(i + 2 * k) % 6], _GROUNDS[(i + 2 * k + 1) % 7])
    for k in range(3)
    for i, colour in enumerate(PRACTISED)
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
it puts *at the top* anywhere. The reward reads them. So the reward can teach it.

1. **Load** a model and a reward.
2. **Prompts**: what to practise on.
3. **Fine-Tune** makes 128 pictures an epoch, has the reward score them, and learns from the better
   ones (reinforcement learning). Watch the curves on the node. It stops by itself when pictures of
   one prompt become too much alike, and keeps the best epoch before that.
4. **Sample** the model as it was and as it is, with shapes it never practised on, from the same seeds.
5. **Compare** says who wins, and how sure that is.

This example takes about five minutes on two processor cores. When pictures break, lower **learning_rate**, with
a new run name.

Cancel whenever you like: what was learned is in *output/tastemaker/runs/* under the run's name, and
Run goes on from there. The LoRA is in that folder too, for any ComfyUI.

For SDXL pick the **preset** for your card and a learning rate of 0.0003, and leave it the night.
When the reward rises and the pictures get worse, read the help of **Fine-Tune** (the ? above the node).
"""

UNCONDITIONAL_NOTE = """## Teach a model that reads no text

*tiny-ddpm* draws whatever it likes, as google/ddpm-church-256 does. Here the reward is arithmetic:
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
    model: Node, tuned: Node, reward: Node, sampling: dict[str, Any], prompts: Node | None
) -> tuple[list[Node], list[Node], Node]:
    """Sample and Score for the model as it was, the same for the model as it is, then Compare."""
    branches: list[list[Node]] = []
    for title, source in (("as it was", model), ("as it is", tuned)):
        wires = {"model": (source, "model")} | ({"prompts": (prompts, "prompts")} if prompts else {})
        sample = Node("TastemakerSample", sampling, wires, title=f"Sample {title}")
        scored = {"images": (sample, "images"), "reward": (reward, "reward"), "prompts": (sample, "prompts")}
        branches.append([sample, Node("TastemakerScore", {}, scored, title=f"Score {title}")])
    tables = {"before": (branches[0][1], "scores"), "after": (branches[1][1], "scores")}
    return *branches, Node("TastemakerCompare", {"pairs": 12}, tables)


def _placed(note: Node, chosen: list[Node], tune: Node, curve: Node, compared: Any, unseen: list[Node]) -> list[Group]:
    """Choose, learn, then compare: the tuned model's branch stands beside Fine-Tune."""
    was, tuned, compare = compared
    tuned = [*unseen, *tuned]
    return lay_out(
        [[note, *chosen], [tune], tuned, was, [compare, curve]],
        [
            Frame("1  Choose", BLUE, chosen),
            Frame("2  Learn", GREEN, [tune]),
            Frame("3  Compare", AMBER, [*tuned, *was, compare, curve]),
        ],
    )


def fine_tune(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": PRACTICE}, title="what to practise on", size=(290, 140))
    unseen = Node("TastemakerPrompts", {"text": HELD_OUT}, title="what it never practised on", size=(290, 130))
    wires = {"model": (model, "model"), "reward": (reward, "reward"), "prompts": (prompts, "prompts")}
    values = {"run_name": "at the top", **TRAINING, "epochs": 12}
    tune = Node("TastemakerFineTune", values, wires)
    curve = Node("TastemakerRewardCurve", {}, {"report": (tune, "report")})
    compared = _before_and_after(model, tune, reward, SAMPLING, unseen)
    note = Node("MarkdownNote", {"text": FINETUNE_NOTE}, size=(290, 520))
    groups = _placed(note, [model, reward, prompts], tune, curve, compared, [unseen])
    (was, was_scored), (tuned, tuned_scored), compare = compared
    nodes = [note, model, reward, prompts, unseen, tune, curve, was, was_scored, tuned, tuned_scored, compare]
    app = App(
        [
            (prompts, "text", "prompts to practise on"),
            (unseen, "text", "prompts to test on"),
            (tune, "run_name", "name of the run"),
            (tune, "epochs", "epochs"),
        ],
        [curve, compare],
        [(tune, "training")],
    )
    return build("fine_tune", nodes, groups, info, app)


def ddpo_unconditional(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-ddpm"})
    reward = Node("TastemakerLoadReward", {"reward": "jpeg-compressibility"})
    wires = {"model": (model, "model"), "reward": (reward, "reward")}
    values = {"run_name": "smooth", **TRAINING, "epochs": 8, "samples_per_epoch": 64, "learning_rate": 4e-3}
    values |= {"algorithm": "clipped"}
    tune = Node("TastemakerFineTune", values, wires)
    curve = Node("TastemakerRewardCurve", {}, {"report": (tune, "report")})
    sampling = {"images_per_prompt": 16, "seed": 1000, "scheduler": "ddim", "steps": 20, "eta": 1.0}
    compared = _before_and_after(model, tune, reward, sampling, None)
    note = Node("MarkdownNote", {"text": UNCONDITIONAL_NOTE}, size=(290, 460))
    groups = _placed(note, [model, reward], tune, curve, compared, [])
    (was, was_scored), (tuned, tuned_scored), compare = compared
    nodes = [note, model, reward, tune, curve, was, was_scored, tuned, tuned_scored, compare]
    return build("ddpo_unconditional", nodes, groups, info)
