"""More Like Mine: a folder of one's own pictures to a reward, without a click."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from . import host
from .checked import checked
from .inputs import pictures_input
from .listing import schema
from .wires import CATEGORY, TasteReward

if TYPE_CHECKING:
    import torch

    from ..images.pictures import Pictures
    from ..rewards import Reward


class TastemakerPortfolio(io.ComfyNode):
    """Learns from pictures somebody made."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerPortfolio",
            display_name="More Like Mine",
            category=CATEGORY,
            description="Learns what your own pictures have that a model's have not: a reward that likes what looks "
            "like yours. No clicks.",
            is_output_node=True,
            inputs=[
                pictures_input("mine", "30 to 300 pictures of your own, from Load Images (folder)."),
                pictures_input("others", "As many pictures of the model, from Sample or Load Images (folder)."),
                TasteReward.Input("reward", tooltip="From Load Reward: its eyes look at the pictures."),
                io.String.Input(
                    "name",
                    default="my portfolio",
                    tooltip="Its file in output/tastemaker/tastes, which Load Reward lists. A file of that name is "
                    "replaced.",
                ),
            ],
            outputs=[
                TasteReward.Output(display_name="taste", tooltip="What looks like yours, as a reward."),
                io.String.Output(display_name="report", tooltip="How well it tells yours from others, and by what."),
            ],
        )

    @classmethod
    @checked
    def execute(
        cls, mine: torch.Tensor | Pictures, others: torch.Tensor | Pictures, reward: Reward, name: str
    ) -> io.NodeOutput:
        from ..images.pictures import as_pictures
        from ..taste import write_taste
        from ..taste.portfolio import learn_portfolio
        from ..taste.words import learned

        path = host.taste_file(name)
        with host.in_use(reward.modules.values()):
            taste, auc = learn_portfolio(
                as_pictures(mine), as_pictures(others), reward, name=name, progress=host.HostProgress()
            )
        write_taste(taste, path)
        sure = [one.words for one in learned(taste) if one.sure]
        lines = [
            f"{name}: of pictures it has not seen it puts yours above the model's {auc:.0%} of the time "
            "(50% is a guess; AUC, two halves in turn)",
            f"yours are {', '.join(sure)}" if sure else "nothing that has a name is surely different",
        ]
        report = "\n".join(lines)
        return io.NodeOutput(taste.reward(reward.leaves), report, ui={"text": [report], "tastemaker_report": [report]})
