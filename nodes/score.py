"""Score: pictures, prompts and a reward to a table of scores."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..core.texts import shortened
from . import host
from .checked import checked
from .inputs import marks_input, pictures_input, prompts_input
from .listing import schema
from .load_images import listed
from .wires import (
    CATEGORY,
    PromptList,
    TastePrompts,
    TasteReward,
    TasteScores,
    as_prompts,
)

if TYPE_CHECKING:
    import torch

    from ..images.graph import Made
    from ..images.pictures import Pictures
    from ..ranking.scoring import Scored
    from ..rewards import Reward


class TastemakerScore(io.ComfyNode):
    """Scores pictures with a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerScore",
            display_name="Score",
            category=CATEGORY,
            description="Gives every picture a score: how well it fits its prompt, by the reward you connect.",
            inputs=[
                pictures_input("images", "Pictures from Sample or any other node, or from Load Images (folder)."),
                prompts_input(
                    "From Sample or Load Images (one for each picture), or one text for all pictures. Without it, the "
                    "positive text of the KSampler that made the pictures is read from your graph.",
                    optional=True,
                ),
                TasteReward.Input("reward", tooltip="From Load Reward."),
                TastePrompts.Input(
                    "made_with",
                    optional=True,
                    tooltip="Sample's prompts, when the prompts above are others: brings the seeds along.",
                ),
                io.Latent.Input(
                    "latents", optional=True, tooltip="One for each picture: Rank gives out those of the best."
                ),
                io.Mask.Input(
                    "masks", optional=True, tooltip="One for each picture: Rank gives out those of the best."
                ),
                io.Boolean.Input(
                    "cache",
                    default=True,
                    optional=True,
                    tooltip="Remember scores, so that a picture is not scored twice by the same reward with the same "
                    "prompt. Off scores everything anew and keeps nothing.",
                ),
                marks_input(
                    "Stars, picks and rejections by hand, which Rank and Save Ranked know too. The view behind the "
                    "button Cull fills it."
                ),
            ],
            outputs=[TasteScores.Output(display_name="scores", tooltip="Pictures, prompts, seeds and scores.")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
        )

    @classmethod
    @checked
    def execute(
        cls,
        images: torch.Tensor | Pictures,
        reward: Reward,
        prompts: PromptList | str | None = None,
        made_with: PromptList | None = None,
        latents: dict[str, Any] | None = None,
        masks: torch.Tensor | None = None,
        cache: bool = True,
        marks: str = "",
    ) -> io.NodeOutput:
        from ..images.graph import made_by
        from ..images.pictures import as_pictures
        from ..ranking.cache import ScoreCache
        from ..ranking.marks import marked, parse_marks
        from ..ranking.scoring import score_pictures
        from .gallery import cull_rows, said_of, with_marks

        parse_marks(marks)  # what is no list of marks is refused before any work
        pictures = as_pictures(images)
        count = len(pictures)
        found = made_by(cls.hidden.prompt, str(cls.hidden.unique_id), "images")
        texts = as_prompts(prompts).texts if prompts is not None else own_prompt(found, reward)
        name, made = ("made_with", made_with) if made_with is not None else ("prompts", as_prompts(prompts))
        seeds = made.seeds or own_seeds(found, count)
        if len(seeds) != count:
            raise InputError(name, len(seeds), f"They were made for another batch: there are {count} images.")
        with ScoreCache(host.score_cache()) if cache else nullcontext() as remembered:
            scored = score_pictures(
                pictures,
                texts,
                reward,
                seeds=seeds,
                extras=_extras(count, latents, masks),
                cache=remembered,
                place=host.in_use,
                progress=host.HostProgress(),
            )
        told = own_note(found, count, prompt=prompts is None, seeds=made.seeds is None)
        before, _ = marked(scored.table, pictures.marks)  # those of Load Images
        rows = cull_rows(before.pictures, before.records(), stars=before.stars, picked=before.picked)
        table, hand = marked(before, marks, [row["id"] for row in rows])
        ui = {
            "tastemaker_report": ["\n".join([summary(scored, count), *told, *said_of(hand)])],
            "tastemaker_cull": with_marks(rows, hand),
            "tastemaker_summary": [{"total": len(table), "columns": list(table.scores)}],
        }
        return io.NodeOutput(table, ui=ui)


def own_prompt(found: Made, reward: Reward) -> tuple[str]:
    """Return the text that the graph's sampler was given, for all pictures. Raises InputError where one is needed."""
    if not found.prompt and reward.needs_prompt:
        raise InputError(
            "prompts",
            found.why,
            f"{reward.name} compares a picture with its prompt, and none can be read from the graph. Connect Prompts, "
            "or the text that the pictures were made with.",
        )
    return (found.prompt,)


def own_seeds(found: Made, count: int) -> tuple[int | None, ...]:
    """Return the sampler's seed for the first picture of a batch, which shares it; no other is made by it alone."""
    first = found.seed if found.in_order else None
    return (first, *(None,) * (count - 1))


def own_note(found: Made, count: int, *, prompt: bool, seeds: bool) -> list[str]:
    """Say what was read from the graph, a line for each."""
    lines = []
    if prompt and found.prompt:
        lines.append(f"prompt read from {found.sampler}'s positive text: {shortened(found.prompt, 200)}")
    elif prompt:
        lines.append(f"scored without a prompt: {found.why}")
    if seeds and found.in_order and found.seed is not None:
        shared = f"; the {count:,} pictures of one batch share it, so it stands with the first" if count > 1 else ""
        lines.append(f"seed read from {found.sampler}: {found.seed}{shared}")
    return lines and ["", *lines]


def _extras(count: int, latents: dict[str, Any] | None, masks: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """Return latents and masks under the names the table keeps them by. Raises InputError when their number differs."""
    found = {}
    if latents is not None:
        found["latents"] = latents["samples"]
    if masks is not None:
        found["masks"] = masks
    for name, tensor in found.items():
        if len(tensor) != count:
            raise InputError(name, len(tensor), f"There are {count} images; connect one for each, or none.")
    return found


def summary(scored: Scored, count: int) -> str:
    """Say how many were scored, how many of them were known before, and what could not be read."""
    rows = len(scored.table)
    lines = [
        f"{rows:,} of {count:,} pictures scored" + (f", {scored.remembered:,} known before" * bool(scored.remembered))
    ]
    if scored.note:
        lines.append(scored.note)
    if scored.remarks:
        lines += ["", *(f"- {line}" for line in scored.remarks)]
    if scored.broken:
        lines += ["", f"cannot be read, left out: {len(scored.broken):,}", *listed(scored.broken)]
    return "\n".join(lines)
