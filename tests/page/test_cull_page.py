"""Culling over the whole window, in the real page: by keyboard, into the node's value, on to the saved pictures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.page.conftest import shots
from tests.page.test_gallery import build, press, run, server, widget  # noqa: F401

pytestmark = pytest.mark.browser


@pytest.fixture
def cull(page: Any) -> Any:
    build(page, count=12, prompts="a heart\na star")
    run(page)
    press(page, "Home", "f")
    yield page
    page.evaluate("() => document.querySelector('.tastemaker-cull')?.close()")


def test_it_opens(cull: Any) -> None:
    assert cull.locator(".tmc-cell").count() == 12
    cull.wait_for_timeout(500)
    cull.keyboard.press("4")
    cull.keyboard.press("ArrowRight")
    cull.keyboard.press("p")
    cull.keyboard.press("ArrowRight")
    cull.keyboard.press("x")
    cull.screenshot(path=str(shots() / "cull_grid.png"))
    print(widget(cull, "marks"), widget(cull, "picks"))
