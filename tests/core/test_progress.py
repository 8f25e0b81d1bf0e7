"""`Progress` and its parts: what is passed on, and that a cancel comes through."""

from __future__ import annotations

import pytest

from tastemaker.core.progress import Cancellable, Progress, Within, stay


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
