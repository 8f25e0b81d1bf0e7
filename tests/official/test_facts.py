"""The table of facts in README.md: every line has a test that exists, or says why it has none."""

from __future__ import annotations

import ast
import re

import pytest

from tests.conftest import OFFICIAL, ROOT

LINES = [
    tuple(cell.strip() for cell in line.strip("|").split(" | "))
    for line in (OFFICIAL / "README.md").read_text(encoding="utf-8").partition("# What is known")[2].splitlines()
    if line.startswith("| ") and not line.startswith("| fact")
]


@pytest.mark.parametrize(("fact", "test"), LINES, ids=lambda cell: cell[:30])
def test_a_fact_has_a_test_that_exists_or_a_reason(fact: str, test: str) -> None:
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", test)
    assert named or test.startswith("no test"), "neither a test nor a reason"
    for file, function in named:
        tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, function)


def test_the_table_is_whole() -> None:
    assert len(LINES) >= 90
