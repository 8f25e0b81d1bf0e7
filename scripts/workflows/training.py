"""The example workflows that train: the small SDXL model, the unconditional one, and from pairs alone."""

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

*tiny-ddpm* draws whatever it likes, as google/ddpm-church-256 does. **tiny-aesthetic** looks at a picture alone,
as LAION's aesthetic score does: it was taught what is beautiful in this small world, strong colours that stand
out from their background, in the middle, with clean edges.

Such a reward has a slope, and **Fine-Tune** climbs it (*reward_gradient*, which *auto* picks here): about two
minutes on one processor core. Look at **Compare**: the pictures please the reward more, shapes are whole, and
they are as different from each other as before.

Then try:

- **jpeg-compressibility**, the first example of the DDPO paper: minus the size of the picture as a JPEG file.
  There is no slope to climb, so *auto* takes *matching*. Nothing in it asks for a shape: watch them go.
- **tiny-imagereward**, with a **Prompts** at **Fine-Tune** that holds the one thing you want to see more of.

Take a new **run_name** each time.
"""

PREFERENCE_NOTE = """## Learn from better and worse

No reward teaches here. Only pictures do: of every prompt the five that are put first, beside the five
that are put last. Here the small reward puts them in order, so that this runs by itself. In your own
work you would: by **picks**, **Vote**, two tables, or a folder of pairs.

1. **Sample** makes sixteen pictures of each prompt, **Score** orders them.
2. **Preference Tune** goes through the pairs again and again. No picture is made to learn from. *held-out
   pairs* says how often it prefers what you do where nobody told it.
3. The reward only watches: the curve *reward in comparisons* is the tuned model's pictures of prompts with shapes
   that it never practised on, against the untrained one's from the same seeds.
4. **Sample** paints those prompts with the tuned model.

It takes about eight minutes on two processor cores, and gains less than **fine_tune**, which makes new pictures
and has them judged as it goes. It needs nobody who judges.

For SDXL pick the **preset** for your card and begin with a learning rate of 0.0001.
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


def preference_tune(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-sdxl"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-imagereward"})
    prompts = Node("TastemakerPrompts", {"text": PRACTICE}, title="what to practise on", size=(290, 140))
    unseen = Node("TastemakerPrompts", {"text": HELD_OUT}, title="what it never practised on", size=(290, 130))
    making = {"images_per_prompt": 16, "seed": 1, "scheduler": "ddim", "steps": 12, "eta": 1.0, "guidance_scale": 3.0}
    made = Node("TastemakerSample", making, {"model": (model, "model"), "prompts": (prompts, "prompts")})
    wires = {"images": (made, "images"), "reward": (reward, "reward"), "prompts": (made, "prompts")}
    ordered = Node("TastemakerScore", {}, wires)
    values = {"run_name": "better and worse", "preset": "CPU", "epochs": 8, "pairs_per_prompt": 5}
    values |= {"learning_rate": 6e-4, "rank": 16, "proximal_weight": 0.5}
    known = {"model": (model, "model"), "better": (ordered, "scores")}
    watched = {"held_out_prompts": (unseen, "prompts"), "watched_reward": (reward, "reward")}
    tune = Node("TastemakerPreferenceTune", values, known | watched)
    tuned = {"model": (tune, "model"), "prompts": (unseen, "prompts")}
    sample = Node("TastemakerSample", SAMPLING, tuned, title="Sample as it is")
    shown = Node("PreviewImage", {}, {"images": (sample, "images")}, title="what it paints now")
    curve = Node("TastemakerRewardCurve", {}, {"report": (tune, "report")})
    note = Node("MarkdownNote", {"text": PREFERENCE_NOTE}, size=(290, 500))
    groups = lay_out(
        [[note, model, reward, prompts], [made, ordered], [tune], [unseen, sample], [curve, shown]],
        [
            Frame("1  Choose", BLUE, [model, reward, prompts]),
            Frame("2  Make and order", GREEN, [made, ordered]),
            Frame("3  Learn", AMBER, [tune]),
            Frame("4  Look", BLUE, [unseen, sample, curve, shown]),
        ],
        gap=46,
    )
    nodes = [note, model, reward, prompts, made, ordered, tune, unseen, sample, curve, shown]
    return build("preference_tune", nodes, groups, info)


def fine_tune_unconditional(info: dict[str, Any]) -> dict[str, Any]:
    model = Node("TastemakerLoadModel", {"model": "tiny-ddpm"})
    reward = Node("TastemakerLoadReward", {"reward": "tiny-aesthetic"})
    wires = {"model": (model, "model"), "reward": (reward, "reward")}
    values = {"run_name": "beautiful", **TRAINING, "epochs": 10, "samples_per_epoch": 32, "learning_rate": 6e-4}
    tune = Node("TastemakerFineTune", values, wires)
    curve = Node("TastemakerRewardCurve", {}, {"report": (tune, "report")})
    sampling = {"images_per_prompt": 16, "seed": 1000, "scheduler": "ddim", "steps": 25}
    compared = _before_and_after(model, tune, reward, sampling, None)
    note = Node("MarkdownNote", {"text": UNCONDITIONAL_NOTE}, size=(290, 560))
    groups = _placed(note, [model, reward], tune, curve, compared, [])
    (was, was_scored), (tuned, tuned_scored), compare = compared
    nodes = [note, model, reward, tune, curve, was, was_scored, tuned, tuned_scored, compare]
    return build("fine_tune_unconditional", nodes, groups, info)
