"""Score: pictures, prompts and a reward to a table of scores."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from . import host
from .checked import checked
from .inputs import pictures_input, prompts_input
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
                prompts_input("From Sample or Load Images (one for each picture), or one text for all pictures."),
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
            ],
            outputs=[TasteScores.Output(display_name="scores", tooltip="Pictures, prompts, seeds and scores.")],
        )

    @classmethod
    @checked
    def execute(
        cls,
        images: torch.Tensor | Pictures,
        prompts: PromptList | str,
        reward: Reward,
        made_with: PromptList | None = None,
        latents: dict[str, Any] | None = None,
        masks: torch.Tensor | None = None,
        cache: bool = True,
    ) -> io.NodeOutput:
        from ..images.pictures import as_pictures
        from ..ranking.cache import ScoreCache
        from ..ranking.scoring import score_pictures

        pictures = as_pictures(images)
        count = len(pictures)
        listed_prompts = as_prompts(prompts)
        name, made = ("prompts", listed_prompts) if made_with is None else ("made_with", as_prompts(made_with))
        seeds = made.seeds or (None,) * count
        if len(seeds) != count:
            raise InputError(name, len(seeds), f"They were made for another batch: there are {count} images.")
        with ScoreCache(host.score_cache()) if cache else nullcontext() as remembered:
            scored = score_pictures(
                pictures,
                listed_prompts.texts,
                reward,
                seeds=seeds,
                extras=_extras(count, latents, masks),
                cache=remembered,
                place=host.in_use,
                progress=host.HostProgress(),
            )
        return io.NodeOutput(scored.table, ui={"tastemaker_report": [summary(scored, count)]})


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
