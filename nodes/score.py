"""Score: pictures, prompts and a reward to a table of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..loaders.errors import InputError
from . import host
from .wires import CATEGORY, PromptList, TastePrompts, TasteReward, TasteScores, as_prompts, prompts_input

if TYPE_CHECKING:
    import torch

    from ..rewards import Reward


class TastemakerScore(io.ComfyNode):
    """Scores pictures with a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TastemakerScore",
            display_name="Score",
            category=CATEGORY,
            description="Gives every picture a score: how well it fits its prompt, by the reward you connect.",
            inputs=[
                io.Image.Input("images", tooltip="Pictures from Sample or any other node."),
                prompts_input("From Sample (one prompt for each picture), or one text for all pictures."),
                TasteReward.Input("reward", tooltip="From Load Reward."),
                TastePrompts.Input(
                    "made_with",
                    optional=True,
                    tooltip="Sample's prompts, when the prompts above are others: brings the seeds along.",
                ),
            ],
            outputs=[TasteScores.Output(display_name="scores", tooltip="Pictures, prompts, seeds and scores.")],
        )

    @classmethod
    def execute(
        cls, images: torch.Tensor, prompts: PromptList | str, reward: Reward, made_with: PromptList | None = None
    ) -> io.NodeOutput:
        from ..rewards import ScoreTable
        from ..rewards.reward import check_images, one_prompt_each

        listed = as_prompts(prompts)
        images = check_images(images)
        texts = one_prompt_each(listed.texts, len(images))
        name, made = ("prompts", listed) if made_with is None else ("made_with", as_prompts(made_with))
        seeds = made.seeds or (None,) * len(images)
        if len(seeds) != len(images):
            raise InputError(name, len(seeds), f"They were made for another batch: there are {len(images)} images.")
        progress = host.Progress(len(images))
        with host.in_use(reward.modules.values()):
            scores = reward(images, texts, on_batch=lambda done, total: progress.update(done))
        table = ScoreTable(images, tuple(texts), tuple(seeds), {reward.name: scores}, reward.name)
        return io.NodeOutput(table)
