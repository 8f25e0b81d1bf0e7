"""Votes: the widget's text, the shuffle, pairs and their pictures, the study's file."""

from __future__ import annotations

import io
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tastemaker.core.errors import InputError
from tastemaker.evaluation.votes.pairs import blind, pair_up
from tastemaker.evaluation.votes.store import Study, StudyError
from tastemaker.evaluation.votes.votes import (
    MAX_VOTES,
    MAX_VOTES_CHARACTERS,
    CastVote,
    Pair,
    choice_of,
    parse_votes,
    pick_of,
    shuffle_ballots,
)
from tastemaker.ranking.table import ScoreTable

TOKEN = "0123456789abcdef" * 2
KEYS = [f"{i:064x}" for i in range(400)]
SECRET, OTHER = b"s" * 32, b"t" * 32


def text(*votes: Any, version: Any = 1) -> str:
    return json.dumps({"version": version, "votes": list(votes)})


def table(count: int, tint: float = 0.0, *, side: int = 8, width: int = 0, seeds: Any = None) -> ScoreTable:
    images = torch.linspace(0, 0.5, count).view(-1, 1, 1, 1).expand(count, side, width or side, 3) + tint
    scores = {"r": torch.arange(float(count)) + tint}
    return ScoreTable(images, ("a heart",) * count, seeds or tuple(range(count)), scores, "r")


# --- the widget -----------------------------------------------------------------------------------


def test_votes_are_read_as_the_page_writes_them() -> None:
    assert parse_votes("") == parse_votes("  \n") == []
    assert parse_votes(text([TOKEN, "left", 5])) == [CastVote(TOKEN, "left", 5)]
    assert parse_votes(text([TOKEN, "none", 0])) == [CastVote(TOKEN, "none", 0)]


HOSTILE = [
    None,
    5,
    [],
    "x",
    "[]",
    "{}",
    "null",
    "NaN",
    "[" * 100_000,
    '{"version": 1}',
    text(version=2),
    text(version=True),
    text(version=1.0),
    '{"version": 1, "votes": {}}',
    '{"version": 1, "votes": [], "votes": []}',
    '{"version": 1, "votes": [], "more": 1}',
    text([TOKEN, "left"]),
    text([TOKEN, "left", 5, 6]),
    text({"token": TOKEN}),
    text([TOKEN.upper(), "left", 5]),
    text([TOKEN + "\n", "left", 5]),
    text([TOKEN, "first", 5]),
    text([TOKEN, ["left"], 5]),
    text([TOKEN, None, 5]),
    text([5, "left", 5]),
    text([TOKEN, "left", -1]),
    text([TOKEN, "left", 2**53 + 1]),
    text([TOKEN, "left", 1.5]),
    text([TOKEN, "left", True]),
    text([TOKEN, "left", "5"]),
    f'{{"version": 1, "votes": [["{TOKEN}", "left", NaN]]}}',
    f'{{"version": 1, "votes": [["{TOKEN}", "left", 1e999]]}}',
    f'{{"version": 1, "votes": [["{TOKEN}", "left", {"9" * 5000}]]}}',
    text([TOKEN, "left", 5], [TOKEN, "right", 6]),
    text([TOKEN, "'; DROP TABLE votes; --", 5]),
    text(*([[f"{i:032x}", "left", 5] for i in range(MAX_VOTES + 1)])),
    " " * (MAX_VOTES_CHARACTERS + 1),
]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: repr(v)[:40])
def test_anything_else_is_refused_by_name(value: object) -> None:
    with pytest.raises(InputError, match="^votes:"):
        parse_votes(value)


# --- the shuffle ----------------------------------------------------------------------------------


def ballots(secret: bytes = SECRET, **changes: Any) -> list[Any]:
    return shuffle_ballots(
        secret, KEYS, **{"seed": 1, "voter": "ann", "question": "aesthetics", "count": 400} | changes
    )


def test_the_same_draw_every_time_and_another_for_everything_else() -> None:
    assert ballots() == ballots()
    sides = {b.pair: b.second_left for b in ballots()}
    for changed in (ballots(OTHER), ballots(seed=2), ballots(voter="bob"), ballots(question="alignment")):
        assert {b.token for b in changed}.isdisjoint({b.token for b in ballots()})
        assert [b.pair for b in changed] != [b.pair for b in ballots()]
        same = sum(sides[b.pair] == b.second_left for b in changed)
        assert 140 < same < 260  # 400 coins: 200 +- 60, six standard deviations


def test_sides_are_fair_and_unrelated_to_what_the_page_gets() -> None:
    """Of 400 coins 200 +- 60; likewise among tokens below the middle, and in the first half of the order."""
    found = ballots()
    assert 140 < sum(b.second_left for b in found) < 260
    low = [b.second_left for b in found if b.token < "8"]
    assert 0.35 < sum(low) / len(low) < 0.65
    assert 60 < sum(b.second_left for b in found[:200]) < 140


def test_voters_judge_the_same_draw_of_pairs_each_in_an_order_of_their_own() -> None:
    ann, bob = ballots(count=50), ballots(count=50, voter="bob", question="alignment")
    assert {b.pair for b in ann} == {b.pair for b in bob}
    assert [b.pair for b in ann] != [b.pair for b in bob]
    assert {b.pair for b in ballots(count=20)} < {b.pair for b in ann}  # more pairs later keep the earlier
    assert {b.pair for b in ballots(count=50, seed=2)} != {b.pair for b in ann}


@pytest.mark.parametrize(("choice", "second_left", "pick"), [
    ("left", False, "first"), ("left", True, "second"), ("right", False, "second"), ("right", True, "first"),
    ("tie", True, "tie"), ("skip", False, "skip"),
])  # fmt: skip
def test_a_side_becomes_a_model_and_back(choice: str, second_left: bool, pick: str) -> None:
    assert pick_of(choice, second_left) == pick
    assert choice_of(pick, second_left) == choice


# --- pairs and pictures ---------------------------------------------------------------------------


def test_the_pair_is_the_same_whichever_wire_a_model_comes_over() -> None:
    a, b = table(3), table(3, 0.25)
    one, other = pair_up(a, b, "base", "tuned"), pair_up(b, a, "tuned", "base")
    assert [p.key for p in one.pairs] == [p.key for p in other.pairs]
    assert one.pairs[1].models == ("base", "tuned")
    assert one.pairs[1].scores == {"r": (1.0, 1.25)}
    assert one.pairs[1].pictures == (a.pictures.key(1), b.pictures.key(1))
    assert torch.equal(one.first.images, a.images)
    assert torch.equal(other.first.images, a.images)


def test_partners_are_found_by_seed_and_repeats_counted() -> None:
    mixed = table(3, 0.25).rows([2, 0, 1])
    assert [p.scores["r"] for p in pair_up(table(3), mixed, "a", "b").pairs] == [(0, 0.25), (1, 1.25), (2, 2.25)]
    twice = table(2).rows([0, 1, 0])
    found = pair_up(twice, table(2, 0.25).rows([0, 1, 0]), "a", "b")
    assert (len(found.pairs), len(found.first), found.repeated) == (2, 2, 1)


def test_what_cannot_be_voted_on_is_refused() -> None:
    with pytest.raises(InputError, match="after_name"):
        pair_up(table(2), table(2), "Same", "same")
    with pytest.raises(InputError, match="seed 1"):
        pair_up(table(2), table(2).rows([0]), "a", "b")
    with pytest.raises(InputError, match="nothing to vote on"):
        pair_up(table(2).rows([]), table(2).rows([]), "a", "b")
    nan = ScoreTable(torch.zeros(1, 4, 4, 3), ("a",), (1,), {"r": torch.tensor([float("nan")])}, "r")
    with pytest.raises(InputError, match="no number"):
        pair_up(nan, nan, "a", "b")
    broken = ScoreTable(torch.zeros(1, 4, 4, 3), ("\ud800",), (1,), {"r": torch.zeros(1)}, "r")
    with pytest.raises(InputError, match="surrogate"):
        pair_up(broken, broken, "a", "b")
    with pytest.raises(InputError, match="shape would tell"):
        blind(table(1), table(1, side=8, width=12), 0)


def noisy(side: int, seed: int = 0) -> ScoreTable:
    images = torch.rand(1, side, side, 3, generator=torch.Generator().manual_seed(seed))
    return ScoreTable(images, ("a",), (1,), {"r": torch.zeros(1)}, "r")


def test_small_pictures_come_through_pixel_for_pixel_in_files_of_one_length() -> None:
    """A flat picture packs far better than noise: the files' lengths would tell them apart."""
    found = blind(table(1), noisy(8), 0)
    assert len(found.first) == len(found.second)
    assert found.extension == "png"
    for data, source in ((found.first, table(1)), (found.second, noisy(8))):
        picture = Image.open(io.BytesIO(data))
        assert not picture.info
        assert np.array_equal(np.asarray(picture), np.round(source.images[0].numpy() * 255))


def test_two_sizes_are_shown_at_the_smaller_and_large_ones_as_jpeg() -> None:
    found = blind(noisy(40), noisy(24), 0)
    assert [Image.open(io.BytesIO(data)).size for data in found[:2]] == [(24, 24)] * 2
    large = blind(noisy(1600), noisy(1000, 1), 0)
    assert large.extension == "jpg"
    assert [Image.open(io.BytesIO(data)).size for data in large[:2]] == [(1000, 1000)] * 2
    assert len(large.first) == len(large.second)
    assert Image.open(io.BytesIO(large.first)).info.keys() <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


# --- the study's file -----------------------------------------------------------------------------


def pairs(count: int = 3) -> list[Pair]:
    return [
        Pair(f"prompt {i}", 2**63 + i, ("base", "tuned"), (f"{i}a", f"{i}b"), {"r": (0.0, 1.0)}) for i in range(count)
    ]


def begin(study: Study, voter: str = "ann", count: int = 3) -> list[Any]:
    study.add_pairs(pairs(count))
    made = shuffle_ballots(
        study.secret, [p.key for p in pairs(count)], seed=1, voter=voter, question="aesthetics", count=count
    )
    study.add_round(made, voter=voter, question="aesthetics", seed=1, graph='{"1": {}}')
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "votes" / "study.sqlite"


def test_a_vote_is_stored_with_its_side_resolved_and_once(path: Path) -> None:
    with Study(path) as study:
        one, other, third = begin(study)
        votes = [
            CastVote(one.token, "left", 1000),
            CastVote(other.token, "tie", 2000),
            CastVote(third.token, "skip", 3000),
        ]
        stored = study.store(votes)
        assert stored.kept == votes
        assert stored.unknown == 0
        assert study.store(votes).kept == votes
        rows = study.rows()
        assert [r.pick for r in rows] == [pick_of("left", one.second_left), "tie", "skip"]
        assert [r.at for r in rows] == [1000, 2000, 3000]
        assert rows[0].pair in pairs()
        assert rows[0].pair.seed >= 2**63


def test_storing_again_changes_not_a_byte(path: Path) -> None:
    with Study(path) as study:
        made = begin(study)
        study.store([CastVote(made[0].token, "left", 1000)])
    before = path.read_bytes()
    with Study(path) as study:
        begin(study)
        study.store([CastVote(made[0].token, "left", 1000)])
    assert path.read_bytes() == before


def test_the_later_vote_counts_and_a_vote_can_be_taken_back(path: Path) -> None:
    with Study(path) as study:
        ballot = begin(study)[0]
        for choice, at in (("left", 2000), ("right", 1000)):  # an old workflow brings an old vote
            study.store([CastVote(ballot.token, choice, at)])
        assert study.rows()[0].pick == pick_of("left", ballot.second_left)
        study.store([CastVote(ballot.token, "right", 3000)])
        assert study.rows()[0].pick == pick_of("right", ballot.second_left)
        study.store([CastVote(ballot.token, "none", 4000)])
        assert study.rows() == []
        assert study.votes_of("ann", "aesthetics")[ballot.pair].pick == "none"
        study.store([CastVote(ballot.token, "tie", 5000)])
        assert study.rows()[0].pick == "tie"


def test_a_clock_that_is_ahead_cannot_lock_a_vote(path: Path) -> None:
    with Study(path) as study:
        ballot = begin(study)[0]
        study.store([CastVote(ballot.token, "left", 2**53)], now=10.0)
        assert study.rows()[0].at == 10_000
        study.store([CastVote(ballot.token, "tie", 11_000)], now=11.0)
        assert study.rows()[0].pick == "tie"


def test_votes_go_to_whoever_was_shown_the_ballot(path: Path) -> None:
    """Changing the voter on the node before votes were stored loses and mixes none."""
    with Study(path) as study:
        ann, bob = begin(study)[0], begin(study, "bob")[0]
        found = study.store([CastVote(ann.token, "left", 1), CastVote(bob.token, "tie", 2), CastVote(TOKEN, "left", 3)])
        assert found.unknown == 1
        assert [(r.voter, r.pick) for r in study.rows()] == [("ann", pick_of("left", ann.second_left)), ("bob", "tie")]


def test_a_study_keeps_its_secret_and_two_studies_have_two(path: Path, tmp_path: Path) -> None:
    with Study(path) as study:
        secret = study.secret
        assert len(secret) == 32
    with Study(path) as study:
        assert study.secret == secret
    with Study(tmp_path / "other.sqlite") as other:
        assert other.secret != secret


def test_everything_needed_to_repeat_it_is_in_the_file(path: Path) -> None:
    with Study(path) as study:
        begin(study)
    file = sqlite3.Connection(str(path))
    assert file.execute("SELECT prompt, seed, first, second, first_picture, second_picture FROM pairs").fetchone() == (
        "prompt 0", str(2**63), "base", "tuned", "0a", "0b",
    )  # fmt: skip
    assert file.execute("SELECT graph FROM graphs").fetchone() == ('{"1": {}}',)
    assert file.execute("SELECT voter, question, seed, pairs FROM rounds").fetchall() == [("ann", "aesthetics", "1", 3)]
    assert file.execute("SELECT count(*) FROM ballots").fetchone() == (3,)
    file.close()


def test_new_scores_join_a_known_pair(path: Path) -> None:
    with Study(path) as study:
        ballot = begin(study)[0]
        study.add_pairs([Pair(p.prompt, p.seed, p.models, p.pictures, {"new": (1.0, 2.0)}) for p in pairs()])
        study.store([CastVote(ballot.token, "tie", 1)])
        assert study.rows()[0].pair.scores == {"r": (0.0, 1.0), "new": (1.0, 2.0)}


def test_half_a_batch_of_votes_is_none(path: Path) -> None:
    with Study(path) as study:
        ballot = begin(study)[0]
        with pytest.raises(StudyError):
            study.store([CastVote(ballot.token, "left", 1), CastVote(object(), "left", 2)])  # type: ignore[arg-type]
        assert study.rows() == []


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"x" * 500])
def test_a_file_that_is_no_study_is_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StudyError, match="still in the node"), Study(path):
        pass
    assert path.read_bytes() == content


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    file = sqlite3.Connection(str(path))
    file.execute("CREATE TABLE mine (x)")
    file.close()
    before = path.read_bytes()
    with pytest.raises(StudyError, match="another program"), Study(path):
        pass
    assert path.read_bytes() == before


def test_looking_at_a_study_that_is_not_there_makes_none(path: Path) -> None:
    with pytest.raises(StudyError, match="no study named 'study'"), Study(path, create=False):
        pass
    assert not path.exists()


def test_voters_who_store_at_once_lose_nothing(path: Path) -> None:
    names = [f"voter {i}" for i in range(4)]
    with Study(path) as study:
        made = {name: begin(study, name) for name in names}

    def vote(name: str) -> None:
        for ballot in made[name]:
            with Study(path) as study:
                study.store([CastVote(ballot.token, "tie", 1)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(vote, names))
    with Study(path, create=False) as study:
        assert sorted(row.voter for row in study.rows()) == sorted(names * 3)


def test_a_study_nobody_can_write_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "votes").write_text("a file where the folder should be")
    with pytest.raises(StudyError, match="still in the node"), Study(tmp_path / "votes" / "study.sqlite"):
        pass
    (tmp_path / "study.sqlite").mkdir()
    with pytest.raises(StudyError, match="still in the node"), Study(tmp_path / "study.sqlite"):
        pass


def test_a_file_another_program_holds_is_waited_for_then_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tastemaker.evaluation.votes.store._WAIT_SECONDS", 0.1)
    with Study(path) as study:
        ballot = begin(study)[0]
        other = sqlite3.Connection(str(path), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StudyError, match="locked"):
            study.store([CastVote(ballot.token, "left", 1)])
        other.execute("ROLLBACK")
        other.close()
        study.store([CastVote(ballot.token, "left", 1)])
        assert len(study.rows()) == 1
