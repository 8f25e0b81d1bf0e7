"""Load Images: a folder of pictures, with the prompt of each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..images.limits import MAX_PICTURES
from . import host
from .checked import checked
from .inputs import marks_input
from .listing import schema
from .wires import CATEGORY, PromptList, TastePictures, TastePrompts

if TYPE_CHECKING:
    from ..images.folder import Folder
    from ..ranking.marks import Marks

_LISTED = 50  # names of each kind in the report
_PAUSE = 0.1  # seconds between two messages of progress: each costs more than reading a small file


class TastemakerLoadImages(io.ComfyNode):
    """Reads a folder of pictures."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        from ..images.folder import ORDERS, PROMPT_SOURCES, WITHOUT_PROMPT

        return schema(
            node_id="TastemakerLoadImages",
            display_name="Load Images (folder)",
            category=CATEGORY,
            description="Reads a folder below ComfyUI's input or output folder: its pictures, of any number and size, "
            "and the prompt each was made with. Files that cannot be used are listed, and the rest goes on.",
            inputs=[
                io.Combo.Input(
                    "folder",
                    options=host.picture_folders(),
                    default="output",
                    tooltip="A folder below ComfyUI's input or output folder. Reload the page for new ones.",
                ),
                io.Boolean.Input("subfolders", default=False, tooltip="Read the folders inside it too."),
                io.Combo.Input(
                    "prompts_from",
                    options=list(PROMPT_SOURCES),
                    default=PROMPT_SOURCES[0],
                    tooltip="metadata: what ComfyUI, Tastemaker or A1111 wrote into the file. txt: a text file of the "
                    "same name beside it. auto: the text file where there is one, else the metadata.",
                ),
                io.String.Input(
                    "default_prompt",
                    default="",
                    tooltip="For pictures that have no prompt of their own. May stay empty.",
                ),
                io.Combo.Input(
                    "without_prompt",
                    options=list(WITHOUT_PROMPT),
                    default=WITHOUT_PROMPT[0],
                    tooltip="What becomes of pictures that still have none. Rewards that compare a picture with its "
                    "prompt need one for each: leave out drops those and lists them.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="name: 2 before 10. newest first: the file changed last comes first.",
                ),
                io.Int.Input(
                    "max_pictures",
                    default=10_000,
                    min=1,
                    max=MAX_PICTURES,
                    tooltip="At most this many files are read, in that order.",
                ),
                io.Boolean.Input(
                    "as_batch",
                    default=False,
                    tooltip="Also give the pictures as IMAGE for other nodes, as far as memory reaches: as one batch, "
                    "or one after the other where sizes differ. Score, Rank and Save Ranked do not need it.",
                ),
                marks_input(
                    "Stars, picks and rejections by hand, which Rank and Save Ranked know too. The view behind the "
                    "button Cull fills it."
                ),
            ],
            outputs=[
                TastePictures.Output(display_name="pictures", tooltip="For Score: read from disk as they are needed."),
                TastePrompts.Output(display_name="prompts", tooltip="The prompt and, where known, seed of each."),
                io.String.Output(display_name="report", tooltip="What was found, and what is wrong with the rest."),
                io.Image.Output(
                    display_name="images",
                    is_output_list=True,
                    tooltip="With as_batch on: all of them as one IMAGE; one after the other where sizes differ.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, folder: object = None) -> bool:
        """Leave the check of `folder` to execute, which says what to do; newer hosts only say `not in list`."""
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: str, subfolders: bool, **_: Any) -> str:
        """Run again when a picture or a text in the folder comes, goes or changes."""
        from ..images.folder import changes

        try:
            return changes(host.picture_folder(folder), recursive=subfolders)
        except InputError as e:  # execute says it to the user
            return str(e)

    @classmethod
    @checked(looked_up=("folder",))
    def execute(
        cls,
        folder: str,
        subfolders: bool,
        prompts_from: str,
        default_prompt: str,
        without_prompt: str,
        order: str,
        max_pictures: int,
        as_batch: bool,
        marks: str = "",
    ) -> io.NodeOutput:
        from ..images.folder import read_folder
        from ..ranking.marks import parse_marks
        from .gallery import said_of, with_marks

        parse_marks(marks)  # what is no list of marks is refused before any work
        found = read_folder(
            host.picture_folder(folder),
            recursive=subfolders,
            prompts_from=prompts_from,
            default_prompt=default_prompt,
            without_prompt=without_prompt,
            order=order,
            max_pictures=max_pictures,
            progress=host.HostProgress(_PAUSE),
        )
        report = summary(folder, found)
        if not len(found.pictures):
            raise InputError("folder", folder, f"It holds no picture that can be used.\n{report}\n")
        images, remark = _images(found, as_batch)
        report += remark
        rows, hand, problem = _culled(found, marks)
        prompts, pictures = PromptList(found.prompts, found.seeds), replace(found.pictures, said=marks)
        ui = {
            "tastemaker_report": ["\n".join([report, *said_of(hand), *filter(None, [problem])])],
            "tastemaker_cull": with_marks(rows, hand),
            "tastemaker_summary": [{"total": len(pictures), "columns": []}],
        }
        return io.NodeOutput(pictures, prompts, report, images, ui=ui)


def _culled(found: Folder, marks: str) -> tuple[list[dict[str, Any]], Marks, str]:
    """Return what the culling view shows, the marks of all, and what is wrong with the file that remembers scores.

    What a picture is known by costs reading it once, ever.
    """
    from ..ranking.cache import ScoreCache
    from ..ranking.marks import find_marks
    from .gallery import MAX_ROWS, cull_rows

    pictures = found.pictures
    records: list[dict[str, Any]] = [
        {"prompt": found.prompts[i], "seed": found.seeds[i], "name": pictures.name(i), "scores": {}}
        for i in range(min(len(pictures), MAX_ROWS))
    ]
    with ScoreCache(host.score_cache()) as remembered:
        remembered.recall_keys(pictures)
        unknown = [i for i in range(len(pictures)) if pictures.content_key(i) is None]
        rows = cull_rows(pictures, records)
        hand = find_marks(pictures, marks, [row["id"] for row in rows])  # a mark of a file that has gone reads all
        remembered.remember_keys(pictures, unknown)
    return rows, hand, remembered.problem


def summary(folder: str, found: Folder) -> str:
    """Say what was found, in plain words; long lists end with how many more there are."""
    count = len(found.pictures)
    lines = [f"{folder}: {count:,} picture{'' if count == 1 else 's'}"]
    prompted = sum(bool(text) for text in found.prompts)
    lines.append(f"with a prompt: {prompted:,}; different prompts: {len(set(filter(None, found.prompts))):,}")
    for title, rows in (
        ("cannot be used", found.broken),
        ("no prompt of their own", found.without_prompt),
        ("left out", found.skipped),
    ):
        if rows:
            lines += ["", f"{title}: {len(rows):,}", *listed(rows)]
    return "\n".join(lines)


def listed(rows: tuple[tuple[str, str], ...]) -> list[str]:
    """Return a line for each (name, why), and one for those that are too many to show."""
    lines = [f"- {name}: {why}" for name, why in rows[:_LISTED]]
    return lines + ([f"- and {len(rows) - _LISTED:,} more"] if len(rows) > _LISTED else [])


def _images(found: Folder, wanted: bool) -> tuple[list[Any], str]:
    """Return the list of IMAGEs, and a line for the report where it is asked for and cannot be."""
    if not wanted:
        return [host.blocked("Load Images gives an IMAGE with as_batch on.")], ""
    from ..images.batch import batches

    try:
        return batches(found.pictures, progress=host.HostProgress()), ""
    except InputError as e:
        why = f"images is empty: {e}"
    return [host.blocked(why)], f"\n\n{why}"
