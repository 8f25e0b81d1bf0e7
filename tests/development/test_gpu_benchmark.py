"""The GPU benchmark: a row for each figure at once, errors as rows, no part begun after the deadline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.rows import Rows, timed


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "gpu.jsonl").read_text(encoding="utf-8").splitlines()]


def test_rows_are_written_at_once_and_an_error_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows(tmp_path / "out", 60)
    rows.row("first", s=1.234567)
    assert lines(tmp_path / "out")[0]["s"] == 1.235
    with rows.part("second"):
        raise ValueError("no such kernel")
    rows.row("third")
    found = lines(tmp_path / "out")
    assert [row["what"] for row in found] == ["first", "FAILED", "third"]
    assert found[1]["part"] == "second"
    assert found[1]["error"] == "ValueError: no such kernel"
    assert "test_gpu_benchmark.py" in found[1]["where"]


def test_no_part_begins_that_would_end_after_the_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Rows(tmp_path, 60)
    assert rows.room("short", 10)
    assert not rows.room("long", 100)
    assert not Rows(tmp_path, 0).room("late")
    assert [row["part"] for row in lines(tmp_path)] == ["long", "late"]


def test_the_first_call_is_not_among_those_that_are_averaged() -> None:
    calls: list[int] = []
    figures = timed(lambda: calls.append(1), runs=3, warm=1)
    assert len(calls) == 4
    assert figures["least"] <= figures["s"] <= figures["most"]
    assert "first" in figures
