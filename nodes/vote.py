"""Vote and Vote Result: two models' pictures judged blind in the page, and what the votes of all say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..evaluation.votes.votes import (
    MAX_PAIRS,
    QUESTIONS,
    CastVote,
    check_model_name,
    parse_votes,
    shuffle_ballots,
)
from . import host
from .checked import checked
from .listing import schema
from .wires import CATEGORY, TasteScores, TasteVotes

if TYPE_CHECKING:
    from ..evaluation.votes.pairs import PairedTables
    from ..evaluation.votes.store import StoreResult
    from ..ranking import ScoreTable

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
                    "shuffle",  # not "seed": the page changes every widget of that name after each run
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
        from ..evaluation.votes.pairs import pair_up
        from ..evaluation.votes.store import Study
        from .booth import page_rows

        cast = parse_votes(votes)
        path = host.study_file(study)
        host.check_plain_name("voter", voter)
        names = (check_model_name("before_name", before_name), check_model_name("after_name", after_name))
        found = pair_up(before, after, *names)
        with Study(path) as file:
            stored = file.store(cast)
            secret = file.secret
            keys = [pair.key for pair in found.pairs]
            ballots = shuffle_ballots(secret, keys, seed=shuffle, voter=voter, question=question, count=pairs)
            shown = {ballot.pair for ballot in ballots}
            file.add_pairs(pair for pair in found.pairs if pair.key in shown)
            file.add_round(ballots, voter=voter, question=question, seed=shuffle, graph=_graph(cls.hidden))
            known = file.votes_of(voter, question)
        rows = page_rows(found, ballots, known, secret)
        ui = {
            "tastemaker_vote": rows,
            "tastemaker_vote_summary": [{"study": study, "voter": voter, **_summary(question, found, stored, cast)}],
        }
        left = sum(not row["vote"] for row in rows)
        return io.NodeOutput(host.blocked(f"{left} pairs are left to vote on.") if left else study, ui=ui)


def _summary(question: str, found: PairedTables, stored: StoreResult, cast: list[CastVote]) -> dict[str, Any]:
    notes = []
    if found.repeated:
        notes.append(f"{found.repeated} pairs were there twice and are asked once.")
    if stored.unknown:
        notes.append(
            f"{stored.unknown} of the {len(cast)} votes in this node belong to another study. They were not stored and "
            "stay in the node: set that study's name and run."
        )
    return {
        "question": QUESTIONS[question],
        "kind": question,
        "kept": [list(vote) for vote in stored.kept],
        "notes": notes,
    }


def _graph(hidden: Any) -> str:
    """Return the graph that runs, as JSON, without the votes in it: what is needed to repeat the study."""
    graph = host.workflow_metadata(hidden).get("prompt")
    if not isinstance(graph, dict):
        return "{}"
    bare = {
        number: {**node, "inputs": {k: v for k, v in node.get("inputs", {}).items() if k != "votes"}}
        for number, node in graph.items()
    }
    return json.dumps(bare, sort_keys=True)


def _state(study: object) -> str:
    """Return what changes whenever the study's file does, so that a run sees what others stored meanwhile."""
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
        from ..evaluation.votes.report import chart, summary, votes_csv
        from ..evaluation.votes.store import Study
        from ..images.convert import from_pil

        name = study if votes is None else votes
        host.check_plain_name("study" if votes is None else "votes", name)
        with Study(host.study_file(name), create=False) as file:
            rows = file.rows()
        report = summary(name, rows)
        picture = chart(name, rows)
        ui = {"images": [host.preview_entry(picture, "votes")], "text": [report], "tastemaker_report": [report]}
        return io.NodeOutput(from_pil(picture), report, votes_csv(rows), ui=ui)
