"""Save Ranked: the kept pictures, with their scores, as files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comfy_api.latest import io

from ..core.errors import InputError
from . import host
from .checked import checked
from .listing import schema
from .wires import CATEGORY, TasteScores

if TYPE_CHECKING:
    from ..ranking import ScoreTable

_SHOWN = 256  # on the node; the page would fetch every one
_TIPS = {
    "pictures": "The pictures, best first when sorted by name.",
    "csv": "The list as a table for spreadsheets.",
    "json": "The list for programs.",
    "sheet": "The labelled contact sheet as a PNG.",
    "html": "A page to look through in any browser and to share: one file, with small copies of up to 500 pictures.",
}


class TastemakerSaveRanked(io.ComfyNode):
    """Saves ranked pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerSaveRanked",
            display_name="Save Ranked",
            category=CATEGORY,
            description="Saves ranked pictures, named so that they sort best first, with workflow and scores inside, "
            "beside a list, a sheet and a page to share.",
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
                *(io.Boolean.Input(part, default=True, optional=True, tooltip=tip) for part, tip in _TIPS.items()),
            ],
        )

    @classmethod
    @checked
    def execute(cls, scores: ScoreTable, filename_prefix: str, **chosen: bool) -> io.NodeOutput:
        from ..ranking.output.save import PARTS, save_table

        parts = [part for part in PARTS if chosen.get(part, True)]
        if not parts:
            raise InputError("pictures", "everything off", "Switch on at least one of what this node writes.")
        if not len(scores):
            raise InputError("scores", "no rows", "There is nothing to save.")
        height, width = scores.pictures.size(0)
        folder, stem, counter = host.output_place(filename_prefix, width, height)
        saved = save_table(
            scores,
            folder,
            f"{stem}_{counter:05}_",
            metadata=host.workflow_metadata(cls.hidden),
            parts=parts,
            progress=host.HostProgress(),
        )
        lists = [path for path in (saved.csv, saved.json, saved.sheet, saved.html) if path is not None]
        ui = {
            "images": [host.saved_entry(path) for path in saved.pictures[:_SHOWN]],
            "tastemaker_files": [host.saved_entry(path) for path in lists],
        }
        return io.NodeOutput(ui=ui)
