"""Vote and Vote Result in a real ComfyUI server: blind pictures, stored votes, results, hostile values."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT

VOTE = {
    "before_name": "plain",
    "after_name": "tuned",
    "study": "first",
    "voter": "ann",
    "question": "aesthetics",
    "pairs": 100,
    "shuffle": 3,
    "votes": "",
}


def table(tint: int = 0, **changes: Any) -> dict[str, Any]:
    inputs = {"count": 6, "side": 24, "width": 24, "prompts": "a heart\na star", "tint": tint}
    return {"class_type": "TestTwin", "inputs": inputs | changes}


def graph(*, wired: bool = True, sources: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Two tables to Vote to Vote Result; `changes` are Vote's widgets."""
    inputs = {"before": ["1", 0], "after": ["2", 0]} | VOTE | changes
    made = {"1": table(), "2": table(tint=1), "3": {"class_type": "TastemakerVote", "inputs": inputs}}
    made["4"] = {"class_type": "TastemakerVoteResult", "inputs": {"study": inputs["study"]}}
    if wired:
        made["4"]["inputs"]["votes"] = ["3", 0]
    return made | (sources or {})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server of our own, with a node that makes tables."""
    from scripts.comfy.server import ComfyServer

    base = tmp_path_factory.mktemp("votes")
    (base / "custom_nodes").mkdir()
    shutil.copy(ROOT / "tests" / "nodes" / "votes_pack.py", base / "custom_nodes")
    with ComfyServer(base) as running:
        yield running


def run(client: Any, prompt: dict[str, Any]) -> Any:
    result = client.run(prompt)
    assert result.status == "success", result.error
    return result


def shown(result: Any) -> list[dict[str, Any]]:
    return result.outputs["3"]["tastemaker_vote"]


def cast(*votes: tuple[str, str, int]) -> str:
    return json.dumps({"version": 1, "votes": [list(vote) for vote in votes]})


def database(server: Any, study: str = "first") -> Path:
    return server.output / "tastemaker" / "votes" / f"{study}.sqlite"


def query(server: Any, text: str, study: str = "first") -> list[tuple]:
    file = sqlite3.Connection(str(database(server, study)))
    try:
        return file.execute(text).fetchall()
    finally:
        file.close()


def test_what_the_page_gets_tells_no_side(server: Any, client: Any) -> None:
    result = run(client, graph(study="blind"))
    rows = shown(result)
    assert len(rows) == 6
    assert set(rows[0]) == {"token", "prompt", "left", "right", "vote", "at"}
    told = json.dumps(result.outputs["3"])
    secret = query(server, "SELECT value FROM meta WHERE name = 'secret'", "blind")[0][0]
    keys = [
        key for row in query(server, "SELECT key, first_picture, second_picture FROM pairs", "blind") for key in row
    ]
    for word in ("plain", "tuned", secret.hex(), *keys, *(key[:16] for key in keys), "second", "base"):
        assert word not in told
    names = [row[side]["filename"] for row in rows for side in ("left", "right")]
    assert len(set(names)) == 12
    assert "4" not in result.outputs  # no result while there are pairs to vote on


def test_the_two_files_of_a_pair_are_alike_in_everything_but_their_pixels(server: Any, client: Any) -> None:
    for row in shown(run(client, graph(study="alike"))):
        heads, pictures = [], []
        for side in ("left", "right"):
            with urllib.request.urlopen(f"{server.address}/view?{urllib.parse.urlencode(row[side])}") as answer:
                heads.append({k: v for k, v in answer.headers.items() if k not in ("Date", "Content-Disposition")})
                pictures.append(Image.open(io.BytesIO(answer.read())))
        assert heads[0] == heads[1]
        assert "Last-Modified" in heads[0] or "ETag" in heads[0]  # what the host tells of a file is told of both
        assert pictures[0].size == pictures[1].size == (24, 24)
        assert not pictures[0].info
        assert not pictures[1].info
        assert pictures[0].tobytes() != pictures[1].tobytes()


def test_votes_are_stored_with_their_side_and_come_back(server: Any, client: Any) -> None:
    rows = shown(run(client, graph()))
    choices = ["left", "right", "tie", "skip"]
    votes = [(row["token"], choice, 1000 + i) for i, (row, choice) in enumerate(zip(rows, choices, strict=False))]
    again = run(client, graph(votes=cast(*votes)))
    assert [row["vote"] for row in shown(again)] == [*choices, "", ""]
    assert [row["token"] for row in shown(again)] == [row["token"] for row in rows]
    summary = again.outputs["3"]["tastemaker_vote_summary"][0]
    assert summary["kept"] == [list(vote) for vote in votes]
    stored = dict(query(server, "SELECT token, pick FROM votes"))
    sides = dict(query(server, "SELECT token, second_left FROM ballots"))
    for row, choice in zip(rows, ("left", "right"), strict=False):
        assert stored[row["token"]] == ("second" if (choice == "left") == bool(sides[row["token"]]) else "first")
    # the side told is the side shown: the left picture is the one of the model the file says
    for row in rows:
        left = Image.open(io.BytesIO(client.file(row["left"])))
        red = left.getpixel((23, 23))[0]
        other = Image.open(io.BytesIO(client.file(row["right"]))).getpixel((23, 23))[0]
        assert (red > other) == bool(sides[row["token"]])  # the second model's pictures are the brighter


def test_another_run_without_votes_keeps_them_and_a_second_voter_has_other_sides(server: Any, client: Any) -> None:
    assert [row["vote"] for row in shown(run(client, graph(voter="bob")))] == [""] * 6
    mine = shown(run(client, graph()))
    assert [row["vote"] for row in mine][:4] == ["left", "right", "tie", "skip"]
    assert {row["token"] for row in mine}.isdisjoint(row["token"] for row in shown(run(client, graph(voter="bob"))))


def test_the_result_comes_when_the_voter_is_done(server: Any, client: Any) -> None:
    rows = shown(run(client, graph(study="done")))
    sides = dict(query(server, "SELECT token, second_left FROM ballots", "done"))
    # always for the second model, tuned
    votes = [(r["token"], "left" if sides[r["token"]] else "right", 1000 + i) for i, r in enumerate(rows)]
    almost = run(client, graph(study="done", votes=cast(*votes[:5])))
    assert "4" not in almost.outputs
    result = run(client, graph(study="done", votes=cast(*votes)))
    report = result.outputs["4"]["text"][0]
    assert "Study done: 6 votes by 1 voter: ann (6)" in report
    assert "tuned against plain: 6 wins, 0 losses, 0 ties, 0 skips" in report
    assert "odds infinite to 1" in report
    assert "red prefers what voters chose in 100.0%" in report
    picture = Image.open(io.BytesIO(client.file(result.outputs["4"]["images"][0])))
    assert picture.width == 900
    early = run(client, graph(study="done", wired=False, voter="bob"))  # the owner may look at any time
    assert "6 votes by 1 voter" in early.outputs["4"]["text"][0]


def test_a_result_sees_what_another_stored_meanwhile(server: Any, client: Any) -> None:
    look = {"4": {"class_type": "TastemakerVoteResult", "inputs": {"study": "done"}}}
    assert "by 1 voter" in run(client, look).outputs["4"]["text"][0]
    assert "4" in run(client, look).cached
    rows = shown(run(client, graph(study="done", voter="cy")))
    run(client, graph(study="done", voter="cy", votes=cast((rows[0]["token"], "left", 5))))
    after = run(client, look)
    assert "4" not in after.cached
    assert "by 2 voters" in after.outputs["4"]["text"][0]


def test_what_made_the_study_is_in_its_file_without_the_votes(server: Any, client: Any) -> None:
    (text,) = query(server, "SELECT graph FROM graphs WHERE digest IN (SELECT graph FROM rounds WHERE voter = 'bob')")[
        0
    ]
    kept = json.loads(text)
    assert kept["3"]["inputs"]["shuffle"] == 3
    assert "votes" not in kept["3"]["inputs"]
    seeds = {row[0] for row in query(server, "SELECT seed FROM pairs")}
    assert seeds == {str(2**62 + i) for i in range(6)}


def test_votes_of_another_study_are_told_and_stay(server: Any, client: Any) -> None:
    result = run(client, graph(votes=cast(("f" * 32, "left", 5))))
    summary = result.outputs["3"]["tastemaker_vote_summary"][0]
    assert "1 of the 1 votes in this node belong to another study" in summary["notes"][0]
    assert summary["kept"] == []


def test_hostile_prompts_pass_as_they_are_and_fewer_pairs_are_drawn(server: Any, client: Any) -> None:
    hostile = "<img src=x onerror='window.hacked=1'>; DROP TABLE pairs; -- \U0001f600"
    sources = {"1": table(prompts=hostile), "2": table(prompts=hostile, tint=1)}
    result = run(client, graph(study="hostile", sources=sources, pairs=2, before_name="<b>&'\""))
    assert [row["prompt"] for row in shown(result)] == [hostile] * 2


def test_a_broken_study_is_an_error_and_left_alone(server: Any, client: Any) -> None:
    database(server, "broken").write_bytes(b"not a database at all")
    result = client.run(graph(study="broken"))
    assert result.status == "error"
    assert "still in the node" in result.error["exception_message"]
    assert database(server, "broken").read_bytes() == b"not a database at all"
    missing = client.run({"4": {"class_type": "TastemakerVoteResult", "inputs": {"study": "nothing"}}})
    assert "no study named 'nothing'" in missing.error["exception_message"]
    assert not database(server, "nothing").exists()


BAD = [
    ("study", "../x"),
    ("study", "a/b"),
    ("study", ""),
    ("study", "."),
    ("study", "CON"),
    ("study", "x" * 65),
    ("study", "a\x00b"),
    ("study", "linked"),
    ("study", "\u202estudy"),
    ("voter", ""),
    ("voter", "../me"),
    ("voter", "<img src=x>"),
    ("question", "taste"),
    ("question", ""),
    ("before_name", ""),
    ("before_name", "a\nb"),
    ("after_name", "plain"),
    ("after_name", "x" * 65),
    ("votes", "[]"),
    ("votes", '{"version": 1, "votes": [["a", "left", 1]]}'),
    ("votes", '{"version": 1, "votes": [["' + "a" * 32 + '", "left", NaN]]}'),
    ("votes", "x" * 500_000),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=lambda v: repr(v)[:24])
def test_a_bad_value_is_an_error_that_names_the_input(server: Any, client: Any, name: str, value: Any) -> None:
    link = database(server, "linked")
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to("/tmp/outside.sqlite")
    message = client.refusal(graph(**{name: value}))
    assert message.startswith(f"{name}:"), message
    assert "Found:" in message


def test_tables_that_are_no_pairs_are_refused(client: Any) -> None:
    for sources, word in (
        ({"2": table(count=4)}, "after"),
        ({"2": table(prompts="other")}, "after"),
        ({"1": table(count=0), "2": table(count=0)}, "before"),
        ({"2": table(width=30)}, "after"),  # another shape
    ):
        result = client.run(graph(sources=sources))
        assert result.status == "error"
        assert result.error["exception_message"].startswith(f"{word}:"), result.error["exception_message"]
