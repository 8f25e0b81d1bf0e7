"""Rank: a table of scores to the best pictures, the rest, and a labelled sheet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..loaders.errors import InputError
from . import host
from .wires import CATEGORY, TasteScores

if TYPE_CHECKING:
    from ..rewards import ScoreTable

MAX_TOP_K = 4096


class TastemakerRank(io.ComfyNode):
    """Sorts scored pictures and keeps the best."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TastemakerRank",
            display_name="Rank",
            category=CATEGORY,
            description="Sorts pictures by score, best first, keeps the best and shows all of them on a sheet.",
            is_output_node=True,
            inputs=[
                TasteScores.Input("scores", tooltip="From Score."),
                io.Int.Input(
                    "top_k",
                    default=4,
                    min=0,
                    max=MAX_TOP_K,
                    tooltip="How many of the best to keep, of each group. 0 keeps all, sorted.",
                ),
                io.Combo.Input(
                    "group_by",
                    options=["prompt", "all"],
                    default="prompt",
                    tooltip="prompt: the best of each prompt. all: the best of the whole batch.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="best", tooltip="The kept pictures, best first."),
                io.Image.Output(display_name="rejects", tooltip="The others, best first. Blocked when there are none."),
                TasteScores.Output(display_name="best scores", tooltip="The kept rows, for Save Ranked."),
                TasteScores.Output(display_name="all scores", tooltip="Every row, sorted and ranked."),
                io.Image.Output(display_name="sheet", tooltip="The labelled sheet as a picture."),
            ],
        )

    @classmethod
    def execute(cls, scores: ScoreTable, top_k: int, group_by: str) -> io.NodeOutput:
        import numpy as np
        import torch

        from ..rewards.sheet import sheet
        from ..rewards.table import rank_table

        if not 0 <= top_k <= MAX_TOP_K:
            raise InputError("top_k", top_k, f"It must be from 0 to {MAX_TOP_K}.")
        ranked, kept, rejected = rank_table(scores, top_k=top_k, group_by=group_by)
        best = ranked.rows(kept)
        picture = sheet(ranked)
        as_image = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]
        ui = {
            "images": [host.preview_entry(picture, "sheet")],
            "tastemaker_ranking": ranked.records(),
        }
        return io.NodeOutput(best.images, _or_blocked(ranked.rows(rejected)), best, ranked, as_image, ui=ui)


def _or_blocked(table: ScoreTable):
    """A table's images, or what stops a branch quietly where there are none."""
    if len(table):
        return table.images
    return host.blocked("Rank kept every picture, so there are no rejects.")
