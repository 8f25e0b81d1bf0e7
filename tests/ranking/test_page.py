"""The HTML page of a ranking: whole in one file, hostile texts inert, used in a real browser."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from scripts import chromium
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.output.page import MAX_PICTURES, page
from tastemaker.ranking.output.save import save_table
from tastemaker.ranking.table import rank_table
from tests.page.conftest import shots, slide

HOSTILE = (
    "</script><script>window.hacked=1</script>",
    "<img src=x onerror='window.hacked=1'>",
    "{{data}} {{script}} \u2028 & &lt; -->",
    "<!--<script>",
    'a red star " onmouseover=window.hacked=1 x="',
    "=HYPERLINK(1)",
)


def table(count: int = 12, prompts: tuple[str, ...] = HOSTILE) -> ScoreTable:
    images = torch.rand(count, 24, 32, 3, generator=torch.Generator().manual_seed(0))
    seeds = tuple(2**63 - 1 - i for i in range(count))
    scores = {"main": torch.linspace(-1, 1, count), "second <b>": torch.linspace(1, 0, count)}
    made = ScoreTable(images, tuple(prompts[i % len(prompts)] for i in range(count)), seeds, scores, "main")
    return rank_table(made, top_k=0, group_by="all")[0]


def data_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found.group(1))


def test_all_of_it_is_inside_and_nothing_comes_from_outside() -> None:
    text = page(table())
    assert not re.search(r"https?://|<link|@import|url\(", text)
    assert "default-src 'none'" in text
    assert text.count("<script") == 2
    content = data_of(text)
    assert len(content["rows"]) == 12
    assert content["rows"][0]["rank"] == 1
    assert {row["prompt"] for row in content["rows"]} == set(HOSTILE)
    assert content["rows"][0]["seed"] == str(2**63 - 1 - 11)  # whole, though beyond a script's numbers


def test_only_the_best_are_inside_and_it_says_so() -> None:
    many = table(MAX_PICTURES + 5, ("a",))
    content = data_of(page(many))
    assert len(content["rows"]) == MAX_PICTURES
    assert content["total"] == MAX_PICTURES + 5


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or chromium.find()
    if path is None:
        pytest.fail("no Chromium; set CHROMIUM to its path")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


@pytest.fixture
def shown(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page as saved, opened from its file."""
    saved = save_table(table(), tmp_path, "best_00001_")
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.problems, opened.asked = [], []
    opened.on("console", lambda message: opened.problems.append(message.text))
    opened.on("pageerror", lambda error: opened.problems.append(str(error)))
    opened.on("request", lambda request: opened.asked.append(request.url))
    opened.goto(saved.html.as_uri())
    yield opened
    assert opened.problems == []
    assert [url for url in opened.asked if not url.startswith(("data:", saved.html.as_uri()))] == []
    assert opened.evaluate("window.hacked") is None
    opened.close()


def ranks(shown: Any) -> list[str]:
    # not innerText: a card that no frame has painted yet (content-visibility) has none
    return shown.locator(".card .rank").all_text_contents()


@pytest.mark.browser
def test_sorting_filtering_and_hiding(shown: Any) -> None:
    best_first = [f"#{i}" for i in range(1, 13)]
    assert ranks(shown) == best_first
    shown.select_option("#sort", label="second <b>")
    assert ranks(shown) == best_first[::-1]
    shown.select_option("#sort", label="rank")
    shown.click("#direction")
    assert ranks(shown) == best_first[::-1]
    shown.click("#direction")
    shown.fill("#filter", "red star")
    assert len(ranks(shown)) == 2
    assert "2 of 12 shown" in shown.inner_text(".count")
    shown.fill("#filter", "nothing has this")
    assert shown.is_visible(".empty")
    shown.fill("#filter", "")
    slide(shown.locator("#least"), 500)
    assert ranks(shown) == best_first[:6]  # scores -1 to 1 in even steps: half are above 0


@pytest.mark.browser
def test_stars_by_hand_are_shown_sorted_by_and_found(browser: Any, tmp_path: Path) -> None:
    stars = (0, 3, -1, 0, 5, *[0] * 7)
    saved = save_table(replace(table(), stars=stars), tmp_path, "best_00001_")
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    opened.goto(saved.html.as_uri())
    assert opened.locator(".card .stars").all_text_contents() == ["\u2605" * 3, "rejected", "\u2605" * 5]
    opened.select_option("#sort", label="stars")
    assert ranks(opened) == ["#5", "#2", "#1", "#4", *(f"#{i}" for i in range(6, 13)), "#3"]  # rejected last
    assert "5 of 5 stars" in opened.locator(".card .frame").first.get_attribute("aria-label")
    opened.fill("#filter", "rejected")
    assert ranks(opened) == ["#3"]
    opened.fill("#filter", "")
    opened.screenshot(path=str(shots() / "page_stars.png"))
    opened.close()


@pytest.mark.browser
def test_without_stars_there_is_nothing_to_sort_by(shown: Any) -> None:
    assert "stars" not in shown.locator("#sort option").all_text_contents()


@pytest.mark.browser
def test_hostile_texts_are_shown_as_text(shown: Any) -> None:
    words = shown.locator(".card .small").all_text_contents()
    assert HOSTILE[0] in words
    assert HOSTILE[1] in words
    assert shown.locator("#grid script, #grid img[src=x]").count() == 0


@pytest.mark.browser
def test_by_keyboard_alone(shown: Any) -> None:
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("Enter")
    assert shown.is_visible("dialog[open]")
    assert "#2" in shown.inner_text("dialog")
    shown.keyboard.press("ArrowRight")
    assert "#3" in shown.inner_text("dialog")
    shown.keyboard.press("Escape")
    assert not shown.is_visible("dialog[open]")
    shown.keyboard.press("c")
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("c")
    assert shown.locator("dialog .side").count() == 2
    assert "#2" in shown.locator("dialog .side").nth(0).inner_text()
    assert "#3" in shown.locator("dialog .side").nth(1).inner_text()
    assert shown.locator("dialog .higher").count() == 2  # each is better by one of the two scores
    link = shown.locator("dialog a").first.get_attribute("href")
    assert link == "./best_00001_02_seed9223372036854775797.png"
    shown.keyboard.press("Escape")
    shown.keyboard.press("/")
    assert shown.evaluate("document.activeElement.id") == "filter"
