"""Every word that people type finds a node, on hosts that search by such words; older hosts get plain schemas."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

WORDS = {
    "aesthetic": "TastemakerLoadReward",
    "best of": "TastemakerRank",
    "best of n": "TastemakerRank",
    "imagereward": "TastemakerLoadReward",
    "pickscore": "TastemakerLoadReward",
    "hps": "TastemakerLoadReward",
    "ddpo": "TastemakerFineTune",
    "ddpm": "TastemakerLoadModel",
    "rl": "TastemakerFineTune",
    "reinforcement": "TastemakerFineTune",
    "train": "TastemakerFineTune",
    "preference": "TastemakerPreferenceTune",
    "lora train": "TastemakerFineTune",
    "gallery": "TastemakerRank",
    "judge": "TastemakerScore",
    "human preference": "TastemakerVote",
    "rank": "TastemakerRank",
    "cull": "TastemakerRank",
    "star": "TastemakerRank",
    "xy plot": "TastemakerGrid",
    "compare models": "TastemakerGrid",
}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.nodes.listing_probe"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("word", WORDS)
def test_a_typed_word_finds_the_node(schemas: dict[str, Any], word: str) -> None:
    assert word in schemas[WORDS[word]]["aliases"]


def test_every_node_has_words_and_none_twice(schemas: dict[str, Any]) -> None:
    assert len(schemas) >= 21
    for made in schemas.values():
        assert made["aliases"]
        assert len(set(made["aliases"])) == len(made["aliases"])


def test_nodes_with_something_to_show_say_so(schemas: dict[str, Any]) -> None:
    assert {name for name, made in schemas.items() if made["intermediate"]} == {
        "TastemakerScore",
        "TastemakerLoadImages",
        "TastemakerRank",
        "TastemakerSearch",
    }


def test_a_host_that_does_not_know_the_fields_gets_none_of_them(schemas: dict[str, Any]) -> None:
    assert all(made["unknown_to_the_host"] == [] for made in schemas.values())


def test_what_few_people_change_is_folded(schemas: dict[str, Any]) -> None:
    for name, made in schemas.items():
        assert sorted(made["folded"]) == sorted(made["to_fold"]), name
    rank = schemas["TastemakerRank"]
    assert {"top_k", "group_by"} == set(rank["inputs"]) - set(rank["folded"]) - {"scores", "picks", "marks"}


def test_hosts_that_fold_are_told_and_others_are_not(client: Any) -> None:
    """0.3.75 knows no `advanced`; newer hosts hand it to the page."""
    given = client.get("/object_info")["TastemakerRank"]["input"]
    flags = {name: spec[1].get("advanced") for part in given.values() for name, spec in part.items() if len(spec) > 1}
    assert flags["buckets"] in (None, True)
    assert flags["top_k"] is None
