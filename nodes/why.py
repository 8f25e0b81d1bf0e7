"""Why This Score: what raised and lowered a picture's score, in words and as a map over the picture."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from comfy_api.latest import io

from ..core.errors import InputError, TastemakerError
from ..core.texts import shortened
from ..ranking.selection import ID_LENGTH
from . import host
from .checked import checked
from .listing import schema
from .wires import CATEGORY, TasteReward, TasteScores

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ..images.pictures import Pictures
    from ..ranking import ScoreTable
    from ..rewards import Reward
    from ..taste.reasons import Reason

MAX_EXPLAINED = 32
_FELLOWS = 48  # of a group, evenly chosen: their mean is what is usual in it
_SIDE, _HEAT_SIDE = 1536, 512  # pixels; networks see 224 to 448 of them
_LEAST = 0.02  # the share of the largest effect below which one is not worth a line
_REASONS = 4


class _Said(NamedTuple):
    """What is known of one reward's score of one picture."""

    reward: str
    fingerprint: str
    score: float
    usual: float | None  # the mean score of its group, where the table has this reward's
    reasons: list[Reason]
    heat: Image.Image  # the picture, bright where the score comes from


class TastemakerWhy(io.ComfyNode):
    """Explains scores."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerWhy",
            display_name="Why This Score",
            category=CATEGORY,
            description="Says in words what raised and lowered a picture's score against the others of its prompt, and "
            "shows where in the picture the score comes from. The culling view asks it with the key W.",
            is_output_node=True,
            inputs=[
                TasteScores.Input("scores", tooltip="From Rank: all scores. Or from Score."),
                TasteReward.Input("reward", tooltip="From Load Reward, the one that gave the scores."),
                io.Int.Input(
                    "count",
                    default=3,
                    min=1,
                    max=MAX_EXPLAINED,
                    tooltip="How many of the best pictures to explain, while none is asked about in the culling view.",
                ),
                io.String.Input(
                    "pictures",
                    default="",
                    optional=True,
                    socketless=True,
                    tooltip="Pictures that were asked about. The culling view fills it, with the key W.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="maps",
                    is_output_list=True,
                    tooltip="Each explained picture once for each reward: bright where the score comes from, grey and "
                    "dark where nothing counts.",
                ),
                io.String.Output(display_name="report", tooltip="The reasons, in words."),
            ],
        )

    @classmethod
    @checked
    def execute(cls, scores: ScoreTable, reward: Reward, count: int, pictures: str = "") -> io.NodeOutput:
        from ..images.convert import from_pil
        from ..ranking.selection import find_picks

        if not len(scores):
            raise InputError("scores", "no rows", "There is nothing to explain.")
        asked = find_picks(scores.pictures, pictures, name="pictures")
        rows = (asked.rows or _best(scores, count))[:MAX_EXPLAINED]
        notes = []
        if asked.missing:
            notes.append(f"{asked.missing} that were asked about are not among these pictures.")
        if asked.unreadable:
            notes.append(f"{asked.unreadable} words in pictures are no picture ids and are left out.")
        if len(asked.rows) > MAX_EXPLAINED:
            notes.append(f"{len(asked.rows)} were asked about; these are the first {MAX_EXPLAINED}.")
        progress = host.HostProgress()
        progress.phase("explaining", len(rows))
        groups, maps, shown, lines = _Groups(scores), [], [], []
        for i in rows:
            said = _explained(scores, i, reward, groups)
            if not said:
                lines += [
                    f"{_called(scores, i)}: {reward.name} compares a picture with its prompt, and it has none.",
                    "",
                ]
                continue
            maps += [from_pil(one.heat) for one in said]
            shown.append(_row(scores, i, said, len(groups.of(i))))
            lines += [*_in_words(scores, i, said, len(groups.of(i))), ""]
            progress.advance()
        report = "\n".join([*lines, *notes]).strip()
        if not shown:
            raise InputError("scores", "no prompt", report)
        return io.NodeOutput(maps, report, ui={"tastemaker_why": shown, "tastemaker_report": [report]})


def _best(table: ScoreTable, count: int) -> list[int]:
    """Return the places of the best rows by the column that ranks."""
    return table.scores[table.main].argsort(descending=True, stable=True)[:count].tolist()


class _Groups:
    """The pictures that each picture is compared with: those of its prompt, or all where it has no fellow."""

    def __init__(self, table: ScoreTable) -> None:
        self.table = table
        self._members: dict[str, list[int]] = {}
        for i, prompt in enumerate(table.prompts):
            self._members.setdefault(prompt, []).append(i)
        self._usual: dict[tuple[int, ...], torch.Tensor] = {}

    def of(self, i: int) -> list[int]:
        members = self._members[self.table.prompts[i]]
        return members if len(members) > 1 else list(range(len(self.table)))

    def own(self, i: int) -> torch.Tensor:
        """Return a picture's attributes (A,), of a small copy as all are. Raises PictureError for one that has gone."""
        from ..images.convert import from_pil
        from ..images.thumbnails import THUMBNAIL_SIDE, thumbnail
        from ..taste.attributes import attributes

        return attributes(from_pil(thumbnail(self.table.pictures, i, THUMBNAIL_SIDE)))[0].cpu()

    def usual(self, i: int) -> torch.Tensor:
        """Return the mean attributes (A,) of a picture's group."""
        import torch

        members = self.of(i)
        some = tuple(dict.fromkeys(members[k * len(members) // _FELLOWS] for k in range(_FELLOWS)))
        if some not in self._usual:
            seen = []
            for one in some:
                try:
                    seen.append(self.own(one))
                except TastemakerError:  # a file that has gone is no fellow
                    continue
            if not seen:
                raise InputError("scores", self.table.pictures.name(i), "The files of these pictures have gone.")
            self._usual[some] = torch.stack(seen).mean(0)
        return self._usual[some]


def _explained(table: ScoreTable, i: int, reward: Reward, groups: _Groups) -> list[_Said]:
    """Explain one picture by every single reward; by none where all need a prompt and it has none.

    Raises as the rewards, and for a file that has gone.
    """
    from ..images.convert import from_pil
    from ..plots.heat import heated
    from ..rewards.heat import heat_map
    from ..taste.reasons import reasons

    whole = _picture(table.pictures, i)
    small = whole.copy()
    small.thumbnail((_HEAT_SIDE, _HEAT_SIDE))
    found = []
    with host.in_use(reward.modules.values()):
        for one in reward.leaves:
            if one.needs_prompt and not table.prompts[i].strip():
                continue  # it cannot say anything of a picture without one
            heat = heat_map(one.silent, from_pil(small), table.prompts[i])[0].numpy()
            why = reasons(one, from_pil(whole)[0], table.prompts[i], groups.own(i), groups.usual(i))
            column = table.scores.get(one.name)
            usual = float(column[groups.of(i)].mean()) if column is not None else None
            score = float(column[i]) if column is not None else float(one.silent(from_pil(whole), table.prompts[i])[0])
            found.append(_Said(one.name, one.fingerprint, score, usual, _worth(why), heated(whole, heat)))
    return found


def _picture(pictures: Pictures, i: int) -> Image.Image:
    """Return a picture of a size that explaining it takes seconds. Raises InputError for a file that has gone."""
    from ..images.decode import PictureError
    from ..images.thumbnails import thumbnail

    try:
        return thumbnail(pictures, i, _SIDE).convert("RGB")
    except PictureError as e:
        raise InputError("scores", pictures.name(i), f"The file of a picture {e}; read its folder again.") from e


def _worth(why: Sequence[Reason]) -> list[Reason]:
    """Return the reasons that are worth a line."""
    least = max((abs(one.effect) for one in why), default=0.0) * _LEAST
    return [one for one in why if abs(one.effect) > max(least, 5e-4)][:_REASONS]


def _row(table: ScoreTable, i: int, said: list[_Said], fellows: int) -> dict[str, Any]:
    """Return what the page gets of one explained picture."""
    from ..images.thumbnails import VIEW_SIDE, preview

    key = table.pictures.key(i)
    parts = []
    for one in said:
        asked = f"{one.reward} {one.fingerprint} {table.prompts[i]}"
        name = f"why_{key}_{hashlib.sha256(asked.encode()).hexdigest()[:16]}"
        entry = host.temp_picture(name, lambda one=one: preview(one.heat, VIEW_SIDE))  # type: ignore[misc]
        parts.append(
            {
                "reward": one.reward,
                "score": one.score,
                "usual": one.usual,
                "heat": entry,
                "reasons": [{"words": r.words, "effect": r.effect} for r in one.reasons],
            }
        )
    return {"id": key[:ID_LENGTH], "fellows": fellows, "name": _called(table, i), "parts": parts}


def _called(table: ScoreTable, i: int) -> str:
    rank = "" if table.ranks is None else f"#{int(table.ranks[i])}"
    return " ".join(filter(None, [rank, table.pictures.name(i)])) or f"picture {i + 1}"


def _in_words(table: ScoreTable, i: int, said: list[_Said], fellows: int) -> list[str]:
    lines = [f"{_called(table, i)}: {shortened(table.prompts[i], 120)}".rstrip(": ")]
    for one in said:
        above = (
            "" if one.usual is None else f", {one.score - one.usual:+.3f} against the mean of its {fellows} pictures"
        )
        lines.append(f"  {one.reward} {one.score:+.3f}{above}")
        lines += [f"    {r.words}: {r.effect:+.3f}" for r in one.reasons] or ["    nothing that has a name moved it"]
    return lines
