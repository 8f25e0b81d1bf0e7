"""Vote and Vote Result: two models' pictures judged blind in the page, and what the votes of all say."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from comfy_api.latest import io

from ..core.errors import InputError
from ..core.texts import shortened
from ..evaluation.votes.votes import (
    MAX_PAIRS,
    QUESTIONS,
    Ballot,
    check_model_name,
    choice_of,
    drawn,
    parse_votes,
    shuffled,
)
from . import host
from .checked import checked
from .listing import schema
from .wires import CATEGORY, TasteScores, TasteVotes

if TYPE_CHECKING:
    from ..evaluation.votes.pictures import Paired
    from ..evaluation.votes.store import Stored, StoredVote
    from ..evaluation.votes.votes import Cast
    from ..ranking import ScoreTable

MAX_SHOWN_PROMPT = 2000  # characters; the study's file keeps all of them
_MAX_SEED = 2**64 - 1


class TastemakerVote(io.ComfyNode):
    """Asks people which of two models' pictures they prefer."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerVote",
            display_name="Vote",
            category=CATEGORY,
            description="Shows the pictures of two models in pairs of one prompt and seed, sides shuffled, and asks "
            "which is better. You vote with the arrow keys; the next run stores the votes.",
            is_output_node=True,
            hidden=[io.Hidden.prompt],
            inputs=[
                TasteScores.Input("before", tooltip="From Score: pictures of the one model."),
                TasteScores.Input(
                    "after", tooltip="From Score: pictures of the other model, with the same prompts and seed."
                ),
                io.String.Input("before_name", default="before", tooltip="What the results call the one model."),
                io.String.Input("after_name", default="after", tooltip="What the results call the other model."),
                io.String.Input(
                    "study",
                    default="my study",
                    tooltip="Name of the study: its file in output/tastemaker/votes keeps every vote of all voters.",
                ),
                io.String.Input(
                    "voter", default="me", tooltip="Who votes. Each voter has sides and an order of their own."
                ),
                io.Combo.Input(
                    "question",
                    options=list(QUESTIONS),
                    default="aesthetics",
                    tooltip="aesthetics: which picture looks better. alignment: which fits the text better.",
                ),
                io.Int.Input(
                    "pairs",
                    default=100,
                    min=1,
                    max=MAX_PAIRS,
                    tooltip="Pairs to vote on, drawn from all by shuffle; every voter gets the same ones.",
                ),
                io.Int.Input(
                    "shuffle",  # not "seed": the page gives every widget of that name a dice that throws at each run
                    default=0,
                    min=0,
                    max=_MAX_SEED,
                    tooltip="Seed that shuffles pairs, order and sides, together with a secret in the study's file.",
                ),
                io.String.Input(
                    "votes",
                    default="",
                    optional=True,
                    socketless=True,
                    tooltip="Votes not yet stored. The page fills it; the next run stores them.",
                ),
            ],
            outputs=[
                TasteVotes.Output(
                    display_name="votes",
                    tooltip="For Vote Result, which waits until the voter has voted on every pair.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, study: Any = None, **others: Any) -> str:
        return _state(study)

    @classmethod
    @checked
    def execute(
        cls,
        before: ScoreTable,
        after: ScoreTable,
        before_name: str,
        after_name: str,
        study: str,
        voter: str,
        question: str,
        pairs: int,
        shuffle: int,
        votes: str = "",
    ) -> io.NodeOutput:
        from ..evaluation.votes.pictures import pair_up
        from ..evaluation.votes.store import Study

        cast = parse_votes(votes)
        asked = _Asked(study, voter, question, pairs, shuffle)
        asked.check()
        path = host.study_file(study)
        names = (check_model_name("before_name", before_name), check_model_name("after_name", after_name))
        found = pair_up(before, after, *names)
        with Study(path) as file:
            stored = file.store(cast)
            secret = file.secret
            keys = [pair.key for pair in found.pairs]
            ballots = shuffled(secret, keys, seed=shuffle, voter=voter, question=question, count=pairs)
            shown = {ballot.pair for ballot in ballots}
            file.add_pairs(pair for pair in found.pairs if pair.key in shown)
            file.add_round(ballots, voter=voter, question=question, seed=shuffle, graph=_graph(cls.hidden))
            known = file.votes_of(voter, question)
        rows = page_rows(found, ballots, known, secret)
        ui = {"tastemaker_vote": rows, "tastemaker_vote_summary": [_summary(asked, found, stored, cast)]}
        left = sum(not row["vote"] for row in rows)
        return io.NodeOutput(host.blocked(f"{left} pairs are left to vote on.") if left else study, ui=ui)


class _Asked(NamedTuple):
    """The widgets that say who votes on what."""

    study: str
    voter: str
    question: str
    pairs: int
    shuffle: int

    def check(self) -> None:
        """Raises InputError; the host checks no list, and a prompt may hold anything."""
        host.check_plain_name("study", self.study)
        host.check_plain_name("voter", self.voter)
        if self.question not in tuple(QUESTIONS):
            raise InputError("question", self.question, f"Pick one of {', '.join(QUESTIONS)}.")
        for name, low, high in (("pairs", 1, MAX_PAIRS), ("shuffle", 0, _MAX_SEED)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(name, value, f"It must be a whole number from {low} to {high}.")


def page_rows(
    found: Paired, ballots: list[Ballot], known: dict[str, StoredVote], secret: bytes
) -> list[dict[str, Any]]:
    """What the page gets: a row a ballot, in the voter's order, which says nothing of which model is where.

    Writes the pictures, each pair once, under names nobody can foresee; may raise a cancel.
    """
    places = {pair.key: i for i, pair in enumerate(found.pairs)}
    progress, rows = host.HostProgress(), []
    progress.phase("pictures", len(ballots))
    for ballot in ballots:
        entries = _entries(found, places[ballot.pair], ballot.pair, secret)
        left, right = reversed(entries) if ballot.second_left else entries
        vote = known.get(ballot.pair)
        choice = "" if vote is None or vote.pick == "none" else choice_of(vote.pick, ballot.second_left)
        rows.append(
            {
                "token": ballot.token,
                "prompt": shortened(found.pairs[places[ballot.pair]].prompt, MAX_SHOWN_PROMPT),
                "left": left,
                "right": right,
                "vote": choice,
                "at": 0 if vote is None else vote.at,
            }
        )
        progress.advance()
    return rows


def _entries(found: Paired, i: int, key: str, secret: bytes) -> tuple[dict[str, str], dict[str, str]]:
    """First's and second's picture as the page asks for them."""
    from ..evaluation.votes.pictures import blind

    made: list[Any] = []

    def encoded(place: int) -> tuple[bytes, str]:
        if not made:  # both at once: their lengths are made equal
            made.append(blind(found.first, found.second, i))
        return made[0][place], made[0].extension

    names = (f"vote_{drawn(secret, 'file', side, key).hex()[:32]}" for side in ("first", "second"))
    first, second = (host.timeless_picture(name, partial(encoded, place)) for place, name in enumerate(names))
    return first, second


def _summary(asked: _Asked, found: Paired, stored: Stored, cast: list[Cast]) -> dict[str, Any]:
    notes = []
    if found.repeated:
        notes.append(f"{found.repeated} pairs were there twice and are asked once.")
    if stored.unknown:
        notes.append(
            f"{stored.unknown} of the {len(cast)} votes in this node belong to another study. They were not stored and "
            "stay in the node: set that study's name and run."
        )
    return {
        "question": QUESTIONS[asked.question],
        "kind": asked.question,
        "study": asked.study,
        "voter": asked.voter,
        "kept": [list(vote) for vote in stored.kept],
        "notes": notes,
    }


def _graph(hidden: Any) -> str:
    """The graph that runs, as JSON, without the votes in it: what is needed to repeat the study."""
    graph = host.workflow_metadata(hidden).get("prompt")
    if not isinstance(graph, dict):
        return "{}"
    bare = {
        number: {**node, "inputs": {k: v for k, v in node.get("inputs", {}).items() if k != "votes"}}
        for number, node in graph.items()
    }
    return json.dumps(bare, sort_keys=True)


def _state(study: object) -> str:
    """Changes whenever the study's file does, so that a run sees what others stored meanwhile."""
    try:
        found = host.study_file(study).stat()
    except (InputError, OSError):
        return ""
    return f"{found.st_mtime_ns} {found.st_size}"


class TastemakerVoteResult(io.ComfyNode):
    """Says what the votes of a study say."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerVoteResult",
            display_name="Vote Result",
            category=CATEGORY,
            description="Win rates and odds with their intervals, strengths of several models, agreement between the "
            "voters, and how often each reward agrees with them.",
            is_output_node=True,
            inputs=[
                io.String.Input("study", default="my study", tooltip="Name of the study."),
                TasteVotes.Input(
                    "votes",
                    optional=True,
                    tooltip="From Vote: waits until the voter is done, so that no result gives the sides away, and "
                    "takes the study from there. Without it the result is shown at any time.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="chart", tooltip="Win rates and rewards as bars, for Save Image."),
                io.String.Output(display_name="report", tooltip="Every figure, and how it was counted."),
                io.String.Output(
                    display_name="table", tooltip="Every vote as CSV: voter, prompt, sides, winner, scores."
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, study: Any = None, **others: Any) -> str:
        return _state(study)

    @classmethod
    @checked
    def execute(cls, study: str, votes: str | None = None) -> io.NodeOutput:
        from ..evaluation.votes.report import chart, in_words, votes_csv
        from ..evaluation.votes.store import Study
        from .gallery import as_image

        name = study if votes is None else votes
        host.check_plain_name("study" if votes is None else "votes", name)
        with Study(host.study_file(name), create=False) as file:
            rows = file.rows()
        report = in_words(name, rows)
        picture = chart(name, rows)
        ui = {"images": [host.preview_entry(picture, "votes")], "text": [report], "tastemaker_report": [report]}
        return io.NodeOutput(as_image(picture), report, votes_csv(rows), ui=ui)
