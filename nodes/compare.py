"""Compare: the same prompts and seeds before and after, as a sheet and in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from . import host
from .checked import checked
from .listing import schema
from .wires import CATEGORY, TasteScores

if TYPE_CHECKING:
    from ..ranking import ScoreTable

MAX_PAIRS = 64


class TastemakerCompare(io.ComfyNode):
    """Says which of two models does better, and how sure that is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerCompare",
            display_name="Compare",
            category=CATEGORY,
            description="Puts two scored batches side by side, picture for picture of the same prompt and seed: a "
            "model before and after Fine-Tune, with and without a LoRA, one model and another.",
            is_output_node=True,
            inputs=[
                TasteScores.Input("before", tooltip="From Score: pictures of the model as it was."),
                TasteScores.Input(
                    "after", tooltip="From Score: pictures of the other model, with the same prompts, seed and reward."
                ),
                io.Int.Input(
                    "pairs",
                    default=12,
                    min=1,
                    max=MAX_PAIRS,
                    tooltip="Pairs shown, evenly from the largest gain to the largest loss. All count.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="sheet", tooltip="The pairs with their scores, for Save Image."),
                io.String.Output(display_name="report", tooltip="Means, change and win rate of every reward."),
                io.Float.Output(display_name="win rate", tooltip="Share of pairs that after wins; ties count half."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, before: ScoreTable, after: ScoreTable, pairs: int) -> io.NodeOutput:
        from ..images.convert import from_pil
        from ..ranking.comparison import compare, in_words
        from ..ranking.output.comparison_sheet import comparison_sheet

        found = compare(before, after)
        picture = comparison_sheet(before, after, pairs=pairs)
        report = "\n".join(in_words(difference) for difference in found)
        ui = {"images": [host.preview_entry(picture, "compare")], "text": [report]}
        return io.NodeOutput(from_pil(picture), report, found[0].win_rate.value, ui=ui)
