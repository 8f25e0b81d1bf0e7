"""Learn Taste: grids of pictures, one click each in the page, and a reward that picks as the person does."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..core.texts import shortened
from ..images.thumbnails import VIEW_SIDE, encoded, preview, thumbnail
from ..ranking.selection import ID_LENGTH
from ..taste.clicks import Click, parse_clicks
from . import host
from .checked import checked
from .inputs import marks_input
from .listing import schema
from .wires import CATEGORY, TasteReward, TasteScores, TasteVotes

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..ranking import ScoreTable
    from ..ranking.marks import Marks
    from ..rewards import Reward
    from ..taste import Taste
    from ..taste.picture import Explained

MAX_CANDIDATES = 500
_SMALL = 512  # pixels of a picture in a grid
_MAX_PROMPT = 500


class TastemakerLearnTaste(io.ComfyNode):
    """Learns what one person likes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerLearnTaste",
            display_name="Learn Taste",
            category=CATEGORY,
            description="Shows six pictures at a time and learns your taste of which one you pick: a reward that "
            "ranks and trains as you would.",
            is_output_node=True,
            inputs=[
                TasteScores.Input("scores", tooltip="From Score: the pictures that you choose among."),
                TasteReward.Input(
                    "reward",
                    tooltip="From Load Reward, the same as Score's: the crowd's taste, from which yours starts, and "
                    "the eyes that look at the pictures.",
                ),
                io.String.Input(
                    "name",
                    default="my taste",
                    tooltip="Whose taste: its file in output/tastemaker/tastes. A name that is there goes on; another "
                    "one begins anew. Several people, several names.",
                ),
                io.Int.Input(
                    "clicks_first",
                    default=10,
                    min=0,
                    max=1000,
                    tooltip="The outputs wait until there are so many clicks. 0 gives them at once.",
                ),
                TasteScores.Input(
                    "liked",
                    optional=True,
                    tooltip="From Rank: picked scores. Each picked picture counts as a click on it among five others.",
                ),
                TasteScores.Input(
                    "more_scores", optional=True, tooltip="From another Score: more pictures that you choose among."
                ),
                TasteVotes.Input(
                    "votes",
                    optional=True,
                    tooltip="From Vote: each vote counts as a click on one of two. Connect the tables that were voted "
                    "on to scores and more_scores.",
                ),
                io.String.Input(
                    "clicks",
                    default="",
                    optional=True,
                    socketless=True,
                    tooltip="Clicks not yet stored. The page fills it; the next run stores them.",
                ),
                marks_input(
                    "Stars, picks and rejections by hand: each counts as a click on the better picture. The view "
                    "behind the button Cull fills it; those that came with scores count too."
                ),
            ],
            outputs=[
                TasteReward.Output(
                    display_name="taste", tooltip="Your taste as a reward: for Score, Combine Rewards, Fine-Tune."
                ),
                io.String.Output(display_name="report", tooltip="What it learned and how sure it is."),
                io.Image.Output(display_name="picture", tooltip="What it learned, drawn: best, worst, what you like."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, name: Any = None, **others: Any) -> str:
        """Run again when the taste's file has changed."""
        try:
            found = host.taste_file(name).stat()
        except (InputError, OSError):
            return ""
        return f"{found.st_mtime_ns} {found.st_size}"

    @classmethod
    @checked
    def execute(
        cls,
        scores: ScoreTable,
        reward: Reward,
        name: str,
        clicks_first: int,
        liked: ScoreTable | None = None,
        more_scores: ScoreTable | None = None,
        votes: str | None = None,
        clicks: str = "",
        marks: str = "",
    ) -> io.NodeOutput:
        from ..images.convert import from_pil
        from ..ranking.marks import marked, parse_marks
        from ..ranking.table import joined_tables
        from ..taste import learn, read_taste, write_taste
        from ..taste.clicks import clicks_of_marks
        from ..taste.picture import learned_picture
        from ..taste.taste import without_stars
        from ..taste.words import report
        from .gallery import cull_rows, said_of, with_marks

        cast = parse_clicks(clicks)
        path = host.taste_file(name)
        stored = read_taste(path) if path.is_file() else None
        whole = scores if more_scores is None else joined_tables(scores, more_scores)
        table, notes = _candidates(whole, parse_marks(marks)[0])
        ids = [table.pictures.key(i)[:ID_LENGTH] for i in range(len(table))]
        _, hand = marked(table, marks, ids)
        starred = clicks_of_marks(ids, hand.stars, hand.picked)
        notes += [*said_of(hand), *_lonely(hand, starred)]
        marks_of = zip(ids, hand.stars, hand.picked, strict=True)
        before = stored and without_stars(stored, {one for one, rating, chosen in marks_of if rating or chosen})
        with host.in_use(reward.modules.values()):
            taste, features = learn(
                [*cast, *starred, *_picked(table, ids, liked), *_voted(votes, ids, notes)],
                table.pictures,
                reward,
                ids=ids,
                scores=_crowd(table, reward),
                prompts=table.prompts,
                name=name,
                before=before,
            )
        if stored is None or [a.click for a in taste.answers] != [a.click for a in stored.answers]:
            write_taste(taste, path)
        kept = {(answer.click.shown, answer.click.at) for answer in taste.answers}
        strangers = sum((click.shown, click.at) not in kept for click in cast)
        if strangers:
            notes.append(f"{strangers} clicks are on pictures that are not here now. They stay in the node.")
        numbers, said = features.double().numpy(), report(taste, features.double().numpy(), table.prompts)
        picture = learned_picture(taste, table.pictures, numbers, _explained(taste, reward, table, numbers))
        ui = {
            "tastemaker_taste": _rows(table, ids, features),
            "tastemaker_cull": with_marks(
                cull_rows(table.pictures, table.records(), stars=table.stars, picked=table.picked), hand
            ),
            "tastemaker_summary": [{"total": len(table), "columns": list(table.scores)}],
            "tastemaker_taste_summary": [
                {**_summary(taste, said, notes), "kept": [_as_sent(click) for click in cast if _key(click) in kept]}
            ],
            "tastemaker_report": [said],
            "tastemaker_picture": [host.preview_entry(picture, "taste")],
        }
        missing = clicks_first - len(taste.counted)
        made: Any = taste.reward(reward.leaves) if missing <= 0 else host.blocked(f"{missing} clicks are missing.")
        return io.NodeOutput(made, said, from_pil(picture), ui=ui)


def _key(click: Click) -> tuple[tuple[str, ...], int]:
    return click.shown, click.at


def _as_sent(click: Click) -> list[Any]:
    return [list(click.shown), click.picked, click.kind, click.at]


def _candidates(table: ScoreTable, marks: Collection[str]) -> tuple[ScoreTable, list[str]]:
    """Return the rows to choose among, each different picture once, at most 500 of them; and what to say of it.

    Of more, those with marks come first: with the table, or by the widget, whose ids are `marks`.
    """
    first: dict[str, int] = {}
    for i in range(len(table)):
        first.setdefault(table.pictures.key(i)[:ID_LENGTH], i)
    rows, notes = list(first.values()), []
    if len(rows) < len(table):
        notes.append(f"{len(table) - len(rows)} pictures were there twice and are shown once.")
    if len(rows) < 2:
        raise InputError(
            "scores", f"{len(rows)} different pictures", "A taste is learned by comparing: score at least two."
        )
    if len(rows) > MAX_CANDIDATES:
        notes.append(f"Grids are made of {MAX_CANDIDATES} of the {len(rows):,} pictures, spread evenly.")
        came = {i for column in (table.stars, table.picked) if column for i, mark in enumerate(column) if mark}
        said = came | {row for one, row in first.items() if one in marks}
        chosen = _spread([row for row in rows if row in said], MAX_CANDIDATES)
        rest = _spread([row for row in rows if row not in said], MAX_CANDIDATES - len(chosen))
        rows = sorted([*chosen, *rest])
    return table.rows(rows), notes


def _spread(rows: list[int], most: int) -> list[int]:
    """Return at most so many of some rows, spread evenly."""
    return rows if len(rows) <= most else [rows[i * len(rows) // most] for i in range(most)]


def _crowd(table: ScoreTable, reward: Reward) -> torch.Tensor | None:
    """Return the scores of the reward's single rewards that the table has: (B, R); None where it lacks one."""
    import torch

    names = [one.name for one in reward.leaves]
    if not all(one in table.scores for one in names):
        return None
    return torch.stack([table.scores[one] for one in names], 1).float()


def _picked(table: ScoreTable, ids: list[str], liked: ScoreTable | None) -> list[Click]:
    """Return picks as clicks: each liked picture among five others that were not picked, always the same ones."""
    if liked is None:
        return []
    chosen = {liked.pictures.key(i)[:ID_LENGTH] for i in range(len(liked))}
    rest = [one for one in ids if one not in chosen]
    clicks = []
    for number, one in enumerate(sorted(chosen & set(ids))):
        others = [rest[(number * 5 + k) % len(rest)] for k in range(min(5, len(rest)))]
        if others:
            clicks.append(Click((one, *others), one, "liked", 0))
    return clicks


def _lonely(hand: Marks, starred: list[Click]) -> list[str]:
    """Say so where stars teach nothing, as there is nothing to compare them with."""
    if starred or not any(hand.stars):
        return []
    return ["Stars teach by comparison: give other pictures fewer, or reject some."]


def _explained(taste: Taste, reward: Reward, table: ScoreTable, features: np.ndarray) -> list[Explained]:
    """Return the pictures that are liked most and least, each with where its score comes from."""
    if not taste.counted:
        return []  # there is nothing of the person's to explain yet
    from ..images.convert import from_pil
    from ..rewards.heat import heat_map
    from ..taste.picture import Explained, extremes

    made, found = taste.reward(reward.leaves), []
    for row in dict.fromkeys(extremes(taste, features)):
        with host.in_use(made.modules.values()):
            small = from_pil(thumbnail(table.pictures, row, _SMALL))  # it is drawn small, and networks see 224 pixels
            heat = heat_map(made, small, table.prompts[row])[0].numpy()
        found.append(Explained(row, heat))
    return found


def _voted(study: str | None, ids: list[str], notes: list[str]) -> list[Click]:
    """Return a study's votes as clicks on grids of two; ties, skipped pairs and pictures not here say nothing."""
    if study is None:
        return []
    from ..evaluation.votes.store import Study
    from ..evaluation.votes.votes import FIRST, SECOND

    host.check_plain_name("votes", study)
    with Study(host.study_file(study), create=False) as file:
        rows = [row for row in file.rows() if row.pick in (FIRST, SECOND)]
    here, clicks = set(ids), []
    for row in rows:
        first, second = (key[:ID_LENGTH] for key in row.pair.pictures)
        if first != second and {first, second} <= here:
            picked = second if row.pick == SECOND else first
            clicks.append(Click((first, second), picked, "voted", max(0, int(row.at))))
    if len(clicks) < len(rows):
        notes.append(f"{len(rows) - len(clicks)} of {len(rows)} votes are on pictures that are not here now.")
    return clicks


def _rows(table: ScoreTable, ids: list[str], features: torch.Tensor) -> list[dict[str, Any]]:
    """Return what the page gets of each picture: where it is, its prompt and its features."""
    progress, rows = host.HostProgress(), []
    progress.phase("pictures", len(table))
    for i, numbers in enumerate(features.tolist()):
        key = table.pictures.key(i)
        entry = host.temp_picture(f"{key}_{_SMALL}", lambda i=i: _small(table, i))  # type: ignore[misc]
        rows.append(
            {
                "id": ids[i],
                "small": entry,
                "prompt": shortened(table.prompts[i], _MAX_PROMPT),
                "features": [round(number, 4) for number in numbers],
            }
        )
        progress.advance()
    return rows


def _small(table: ScoreTable, i: int) -> tuple[bytes, str]:
    if max(table.pictures.size(i)) <= _SMALL:
        return preview(table.pictures.picture(i), VIEW_SIDE)
    return encoded(thumbnail(table.pictures, i, _SMALL)), "jpg"


def _summary(taste: Taste, said: str, notes: list[str]) -> dict[str, Any]:
    """Return what the page needs to go on choosing by itself: the prior, and every stored answer."""
    answers = [
        {
            "features": [[round(number, 4) for number in row] for row in answer.features.tolist()],
            "picked": answer.click.shown.index(answer.click.picked),
        }
        for answer in taste.counted
    ]
    return {
        "name": taste.name,
        "report": said,
        "notes": notes,
        "prior_mean": taste.prior.mean.tolist(),
        "precision": taste.prior.precision.tolist(),
        "answers": answers,
        "asked": len(taste.answers),
    }


# --- tastes that are there ----------------------------------------------------------------------

PREFIX = "taste: "


def saved_tastes() -> list[str]:
    """Return the saved tastes as Load Reward lists them."""
    return [PREFIX + name for name in host.taste_names()]


def taste_path(choice: str) -> Path | None:
    """Return the file of a taste of that list; None for what is none of it."""
    if not choice.startswith(PREFIX):
        return None
    return host.taste_file(choice.removeprefix(PREFIX))
