"""Rank: a table of scores to the best pictures, the rest, picks by hand, and a gallery of them all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..ranking.selection import RankOptions
from . import host
from .checked import checked
from .inputs import marks_input, widgets
from .listing import schema
from .wires import CATEGORY, PromptList, TastePrompts, TasteScores

if TYPE_CHECKING:
    from ..ranking import ScoreTable

_LATER = ("keep", "buckets", "great_from", "ok_from", "sizes", "rank_by")


class TastemakerRank(io.ComfyNode):
    """Sorts scored pictures and keeps the best."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerRank",
            display_name="Rank",
            category=CATEGORY,
            description="Sorts pictures by score, best first, keeps the best, and shows all of them in a gallery where "
            "you compare them and pick by hand.",
            is_output_node=True,
            inputs=[
                TasteScores.Input("scores", tooltip="From Score."),
                *widgets(RankOptions, "top_k", "group_by"),
                *_optional(widgets(RankOptions, *_LATER)),
                io.String.Input(
                    "picks",
                    default="",
                    optional=True,
                    socketless=True,
                    tooltip="Pictures picked by hand. The gallery fills it; its button Send on runs the graph.",
                ),
                marks_input("Stars and rejections by hand. The view behind the button Cull fills it."),
            ],
            # saved workflows link outputs by place: new ones go at the end
            outputs=[
                io.Image.Output(display_name="best", is_output_list=True, tooltip="The kept pictures, best first."),
                io.Image.Output(
                    display_name="rejects",
                    is_output_list=True,
                    tooltip="The others, best first. Blocked when there are none.",
                ),
                TasteScores.Output(display_name="best scores", tooltip="The kept rows, for Save Ranked."),
                TasteScores.Output(display_name="all scores", tooltip="Every row, sorted and ranked."),
                io.Image.Output(display_name="sheet", tooltip="The labelled sheet as a picture."),
                io.Image.Output(
                    display_name="picked", is_output_list=True, tooltip="What you picked in the gallery, best first."
                ),
                TasteScores.Output(display_name="picked scores", tooltip="The picked rows, for Save Ranked."),
                io.Latent.Output(display_name="best latents", tooltip="Of the kept pictures, if Score was given any."),
                io.Mask.Output(display_name="best masks", tooltip="Of the kept pictures, if Score was given any."),
                TastePrompts.Output(display_name="best prompts", tooltip="Of the kept pictures, seeds included."),
                io.Int.Output(
                    display_name="best seeds",
                    is_output_list=True,
                    tooltip="Of the kept pictures, one after the other: a sampler behind it runs once for each.",
                ),
            ],
        )

    @classmethod
    @checked
    def execute(cls, scores: ScoreTable, picks: str = "", marks: str = "", **options: Any) -> io.NodeOutput:
        from ..images.convert import from_pil
        from ..ranking.marks import marked, parse_marks
        from ..ranking.output.sheet import sheet
        from ..ranking.selection import find_picks, parse_picks
        from ..ranking.table import rank_table
        from .gallery import gallery_rows, summary

        parse_picks(picks)  # what is no list of ids is refused before any work
        parse_marks(marks)
        ranked, kept, rejected = rank_table(scores, **options)
        rows = gallery_rows(ranked, kept)
        known = [row["id"] for row in rows]
        picked = find_picks(ranked.pictures, picks, known)
        ranked, found = marked(ranked, marks, known)
        # picked here, or before where nothing was said here
        chosen = {*picked.rows, *(i for i, before in enumerate(found.picked) if before)}
        picked = picked._replace(rows=sorted(chosen))
        if chosen:
            ranked = replace(ranked, picked=tuple(i in chosen for i in range(len(ranked))))
        for i, row in enumerate(rows):
            row |= {"picked": i in chosen, "stars": found.stars[i]}
        picture = sheet(ranked)
        notes: list[str] = []
        sizes = options.get("sizes", RankOptions.sizes)
        outputs = _outputs(ranked, kept, rejected, picked.rows, sizes, notes)
        outputs[_SHEET] = from_pil(picture)
        ui = {
            "tastemaker_ranking": rows,
            "tastemaker_summary": [summary(ranked, rows, len(kept), picked, found, notes)],
            "tastemaker_sheet": [host.preview_entry(picture, "sheet")],
        }
        return io.NodeOutput(*outputs, ui=ui)


_SHEET = 4


def _optional(inputs: list[io.Input]) -> list[io.Input]:
    """Make optional what came later: a prompt written before them still runs."""
    for entry in inputs:
        entry.optional = True
    return inputs


def _outputs(
    ranked: ScoreTable, kept: list[int], rejected: list[int], picked: list[int], sizes: str, notes: list[str]
) -> list[Any]:
    """Return all outputs in their order, without the sheet. What is empty blocks its branch; `notes` gets why."""
    best, rest, hand = ranked.rows(kept), ranked.rows(rejected), ranked.rows(picked)
    if not kept:
        notes.append("No picture is kept: none is in the buckets that keep lets through.")
    none_best = "Rank kept no picture."
    none_picked = "No picture is picked in the gallery of Rank."
    return [
        _images("best", best, sizes, none_best, notes),
        _images("rejects", rest, sizes, "Rank kept every picture, so there are no rejects.", notes),
        best if kept else host.blocked(none_best),
        ranked,
        None,
        _images("picked", hand, sizes, none_picked, notes),
        hand if picked else host.blocked(none_picked),
        *_belongings(best),
    ]


def _images(output: str, table: ScoreTable, sizes: str, why_none: str, notes: list[str]) -> list[Any]:
    """Return a table's pictures as a list of IMAGEs, one where all are of one size, or what stops a branch quietly."""
    from ..images.batch import batches

    if not len(table):
        return [host.blocked(why_none)]
    try:
        # reading files takes long enough to be cancelled
        return batches(table.pictures, sizes, progress=host.HostProgress())
    except InputError as e:
        notes.append(f"The output '{output}' is empty. {e}")
        return [host.blocked(notes[-1])]


def _belongings(best: ScoreTable) -> list[Any]:
    """Return latents, masks, prompts and seeds of the kept rows."""
    if not len(best):
        none = "Rank kept no picture."
        return [*(host.blocked(none) for _ in range(3)), [host.blocked(none)]]
    latents, masks = best.extras.get("latents"), best.extras.get("masks")
    known = all(seed is not None for seed in best.seeds)
    return [
        host.blocked("Score was given no latents.") if latents is None else {"samples": latents},
        host.blocked("Score was given no masks.") if masks is None else masks,
        PromptList(best.prompts, best.seeds if known else None),
        list(best.seeds) if known else [host.blocked("The seeds of the kept pictures are not known.")],
    ]
