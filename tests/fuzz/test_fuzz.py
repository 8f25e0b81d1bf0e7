"""Wrong values into every input of every node of ours, in a real server: nothing crashes, hangs, leaks, or is bare."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest

from scripts.comfy.client import ComfyClient

from .cases import QUICK, cases, inputs_of, nodes_of, usual
from .run import fuzz_server, run

COUNT, SEED = 300, 20_261
# where even right values end in an error of ours: there is no LoRA, no full-size model, no vote
EMPTY = {
    "TastemakerLoadLoRA": "lora: ",
    "TastemakerToNative": "model: ",
    "TastemakerVoteResult": "study: ",
    "TastemakerPortfolio": "mine: ",  # two pictures are too few
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with fuzz_server(tmp_path_factory.mktemp("fuzz")) as server:
        yield server


def test_with_right_values_every_node_runs(fuzzed) -> None:
    """Else wrong ones would test nothing but the first check."""
    client = ComfyClient(fuzzed.address)
    nodes = nodes_of(client.get("/object_info"))
    for node in sorted(nodes):
        result = client.run(usual(node, nodes, random.Random(0)), seconds=120)
        assert not result.refused, (node, result.refused)
        if node in EMPTY:
            assert result.error["exception_message"].startswith(EMPTY[node])
        else:
            assert result.status == "success", (node, result.error)


def test_every_input_has_its_turn_and_the_seed_says_which(fuzzed) -> None:
    info = ComfyClient(fuzzed.address).get("/object_info")
    places = {(node, name) for node, one in nodes_of(info).items() for name in inputs_of(one)}
    made = list(cases(info, len(places), SEED))
    assert {(case.node, name) for case in made for name in case.changes} == places
    assert [case.prompt for case in cases(info, 50, SEED)] == [case.prompt for case in made[:50]]
    assert set(QUICK) <= {name for _, name in places}


def test_wrong_values_end_in_words(fuzzed) -> None:
    outcome = run(fuzzed, COUNT, SEED)
    assert outcome.failures == [], outcome.told()
    assert outcome.counts["error"] > COUNT / 4, outcome.told()  # most reach a node, and are refused there
