"""How many actions a newcomer needs, each done by mouse and keyboard in the real page and counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from PIL import Image

from tests.page.conftest import shots

pytestmark = pytest.mark.browser

FOLDER, PICTURES, WANTED = "my_renders", 12, 10
# the middle of a widget of the classic page, in the window
WIDGET_AT = """([type, name]) => {
    const node = app.graph._nodes.find(n => n.type === type);
    const widget = node.widgets.find(w => w.name === name);
    const { scale, offset } = app.canvas.ds, box = app.canvas.canvas.getBoundingClientRect();
    const x = node.pos[0] + node.size[0] / 2, y = node.pos[1] + widget.last_y + 10;
    return [box.left + (x + offset[0]) * scale, box.top + (y + offset[1]) * scale];
}"""
DRAWN = """([type, name]) =>
    app.graph._nodes.find(n => n.type === type)?.widgets.find(w => w.name === name)?.last_y > 0"""
LISTEN = """() => {
    window.ended = '';
    for (const kind of ['execution_success', 'execution_error'])
        app.api.addEventListener(kind, () => { window.ended = kind; });
}"""


class Hands:
    """A newcomer's hands, and what they have done so far: an entry for each action, in words."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.done: list[str] = []

    def click(self, what: Any, name: str) -> None:
        self.done.append(f"click {name}")
        what.click()

    def widget(self, kind: str, name: str) -> None:
        self.done.append(f"click {name}")
        self.page.wait_for_function(DRAWN, arg=[kind, name])
        self.page.mouse.click(*self.page.evaluate(WIDGET_AT, [kind, name]))

    def type_in(self, text: str) -> None:
        """Type into what a click has opened, and leave it: still the same action."""
        field = self.page.locator(".graphdialog input, .p-dialog input[type=text], .litegraph.dialog input").last
        field.fill(text)
        field.press("Enter")

    def run(self) -> None:
        self.page.evaluate(LISTEN)
        self.click(self.page.get_by_test_id("queue-button").first, "Run")
        self.page.wait_for_function("() => window.ended", timeout=300_000)
        assert self.page.evaluate("() => window.ended") == "execution_success"


@pytest.fixture
def hands(page: Any) -> Iterator[Hands]:
    """At the template browser, as it opens on the first visit, at Tastemaker's templates."""
    dialog = page.get_by_role("dialog").first
    if not dialog.is_visible():
        page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        dialog.wait_for(timeout=60_000)
    dialog.get_by_text("tastemaker", exact=True).first.click()
    yield Hands(page)
    page.evaluate("() => app.graph.clear()")


def open_template(hands: Hands, name: str) -> None:
    card = hands.page.get_by_test_id(f"template-workflow-{name}")
    card.wait_for(timeout=30_000)
    hands.click(card, name)
    hands.page.wait_for_function("() => app.graph._nodes.some(n => n.type === 'TastemakerRank')", timeout=30_000)
    hands.page.get_by_role("dialog").first.wait_for(state="detached")
    hands.page.wait_for_timeout(1000)


def test_two_from_the_template_to_the_first_ranked_picture(hands: Hands) -> None:
    open_template(hands, "best_of_batch")
    hands.run()
    first = hands.page.locator(".tastemaker-ranking .tm-cell").first
    first.wait_for(timeout=30_000)
    assert "#1" in first.inner_text()
    assert hands.done == ["click best_of_batch", "click Run"]


def test_five_from_a_folder_to_its_ten_best_in_another(hands: Hands, server: Any) -> None:
    folder = server.base / "input" / FOLDER
    folder.mkdir()
    for i in range(PICTURES):
        Image.new("RGB", (64, 64), (250 - 10 * i, 20, 20)).save(folder / f"{i:02}.png")
        (folder / f"{i:02}.txt").write_text("a large red square on a red background", encoding="utf-8")
    hands.page.reload()  # a folder that is new since the page was opened
    hands.page.wait_for_function("() => window.app?.graph")
    hands.page.wait_for_timeout(3000)
    hands.page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    hands.page.get_by_role("dialog").first.get_by_text("tastemaker", exact=True).first.click()
    open_template(hands, "rank_folder")
    hands.widget("TastemakerLoadImages", "folder")
    hands.click(hands.page.locator(".litemenu-entry", has_text=f"input/{FOLDER}"), f"input/{FOLDER}")
    hands.widget("TastemakerRank", "top_k")
    hands.type_in(str(WANTED))
    hands.page.screenshot(path=str(shots() / "five_actions.png"))
    hands.run()
    saved = sorted((server.output / "tastemaker_ranked").glob("*.png"))
    assert len([path for path in saved if "sheet" not in path.name]) == WANTED
    assert len(hands.done) == 5, hands.done
