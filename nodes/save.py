"""Save Ranked: the kept pictures, with their scores, as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from . import host
from .wires import CATEGORY, TasteScores

if TYPE_CHECKING:
    from ..rewards import ScoreTable


class TastemakerSaveRanked(io.ComfyNode):
    """Saves ranked pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="TastemakerSaveRanked",
            display_name="Save Ranked",
            category=CATEGORY,
            description="Saves ranked pictures as PNG, named so that they sort best first, with the workflow and "
            "scores inside, beside a CSV, a JSON and a sheet.",
            is_output_node=True,
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            inputs=[
                TasteScores.Input(
                    "scores", tooltip="From Rank: best scores for the kept ones, all scores for everything."
                ),
                io.String.Input(
                    "filename_prefix",
                    default="tastemaker/best",
                    tooltip="Folder and name under ComfyUI's output folder.",
                ),
            ],
        )

    @classmethod
    def execute(cls, scores: ScoreTable, filename_prefix: str) -> io.NodeOutput:
        from ..rewards.save import save_table

        height, width = scores.pictures.picture(0).shape[:2]
        folder, stem, counter = host.output_place(filename_prefix, width, height)
        progress = host.Progress(len(scores))
        saved = save_table(
            scores,
            folder,
            f"{stem}_{counter:05}_",
            metadata=host.workflow_metadata(cls.hidden),
            on_file=progress.update,
        )
        ui = {
            "images": [host.saved_entry(path) for path in saved.pictures],
            "tastemaker_files": [host.saved_entry(path) for path in (saved.csv, saved.json, saved.sheet)],
        }
        return io.NodeOutput(ui=ui)
