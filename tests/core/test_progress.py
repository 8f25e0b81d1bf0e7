"""`Progress` and its parts: what is passed on, and that a cancel comes through."""

from __future__ import annotations

import logging

import pytest

from tastemaker.core.progress import Cancellable, LoggedProgress, Progress, Scaled, Within, stay


class Recorded(Progress):
    """Writes down every call."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []

    def phase(self, name: str, total: int) -> None:
        self.calls.append(("phase", name, total))

    def advance(self, count: int = 1) -> None:
        self.calls.append(("advance", count))

    def preview(self, make) -> None:
        self.calls.append(("preview", make()))

    def check_cancelled(self) -> None:
        self.calls.append(("check",))


def work(progress: Progress) -> None:
    progress.phase("sampling", 4)
    progress.advance(3)
    progress.preview(lambda: "picture")
    progress.check_cancelled()


def test_within_passes_on_all_but_phases() -> None:
    outer = Recorded()
    work(Within(outer))
    assert outer.calls == [("advance", 3), ("preview", "picture"), ("check",)]


def test_cancellable_passes_on_chances_to_cancel_only() -> None:
    outer = Recorded()
    work(Cancellable(outer))
    assert outer.calls == [("check",), ("check",)]


def test_a_progress_that_ignores_makes_no_preview() -> None:
    Progress().preview(lambda: pytest.fail("made for nobody"))


@pytest.mark.parametrize("part", [Within, Cancellable])
def test_a_cancel_comes_through(part: type) -> None:
    class Cancelled(Exception):
        pass

    class Cancels(Recorded):
        def check_cancelled(self) -> None:
            raise Cancelled

    with pytest.raises(Cancelled):
        work(part(Cancels()))


def test_stay_is_a_place() -> None:
    with stay([], 10) as nothing:
        assert nothing is None


def test_scaled_fills_its_share_of_the_outer_phase_in_whole_units() -> None:
    outer = Recorded()
    part = Scaled(outer, 5)
    part.phase("steps", 8)
    for count in (2, 2, 4):
        part.advance(count)
    assert outer.calls == [("advance", 1), ("advance", 1), ("advance", 3)]  # 5 * 2 // 8, 5 * 4 // 8, 5


def test_scaled_takes_back_what_has_to_be_done_again() -> None:
    outer = Recorded()
    part = Scaled(outer, 4)
    part.phase("steps", 4)
    part.advance(3)
    part.advance(-3)
    part.advance(4)
    assert sum(call[1] for call in outer.calls) == 4


def test_logged_progress_says_the_beginning_and_the_end(caplog: pytest.LogCaptureFixture) -> None:
    progress = LoggedProgress(logging.getLogger("told"))
    with caplog.at_level(logging.INFO):
        progress.phase("reading", 3)
        for _ in range(3):
            progress.advance()
    assert [record.getMessage() for record in caplog.records] == ["reading: 0 of 3", "reading: 3 of 3"]
