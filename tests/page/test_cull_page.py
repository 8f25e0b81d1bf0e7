"""Culling over the whole window, in the real page: by keyboard, into the node's value, on to the saved pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

from scripts.comfy.client import ComfyClient
from tests.page.conftest import set_renderer, shots
from tests.page.test_gallery import CONTRAST, RANK, build, press, run, server, widget  # noqa: F401

pytestmark = pytest.mark.browser

VIEW = ".tastemaker-cull"


@pytest.fixture
def cull(page: Any) -> Iterator[Any]:
    """Twelve pictures of two prompts, opened by keyboard."""
    build(page, count=12, prompts="a heart\na star")
    run(page)
    press(page, "Home", "f")
    page.locator(f"{VIEW}[open]").wait_for()
    yield page
    page.evaluate("() => document.querySelector('.tastemaker-cull')?.close()")


def keys(page: Any, *names: str) -> None:
    for name in names:
        page.keyboard.press(name)


def marks(page: Any) -> list[str]:
    """What follows the id of each mark in the widget."""
    return [word[17:] for word in widget(page, "marks").split(",") if word]


def said(page: Any) -> str:
    return page.locator(f"{VIEW} .tmc-said").text_content()


def count(page: Any) -> str:
    return page.locator(f"{VIEW} .tmc-count").text_content()


def active(page: Any) -> str:
    """Which picture the screen reader is on, in words."""
    return page.evaluate(
        """() => document.getElementById(document.querySelector('.tmc-list').getAttribute('aria-activedescendant'))
            .getAttribute('aria-label')"""
    )


def test_stars_picks_and_rejections_by_keyboard_and_back(cull: Any) -> None:
    assert cull.evaluate("() => document.activeElement.className") == "tmc-list"
    keys(cull, "4", "ArrowRight", "p", "ArrowRight", "x")
    assert marks(cull) == ["4", "0x"]
    assert len(widget(cull, "picks")) == 16
    assert said(cull) == "rejected"
    assert active(cull).endswith("; rejected")
    cull.screenshot(path=str(shots() / "cull_grid.png"))
    keys(cull, "p")  # picked is no longer rejected
    assert marks(cull) == ["4"]
    keys(cull, "u", "u")
    assert marks(cull) == ["4"]
    assert len(widget(cull, "picks").split(",")) == 1
    keys(cull, "u", "u", "u")
    assert (marks(cull), widget(cull, "picks"), said(cull)) == ([], "", "Nothing to undo")


def test_a_selection_is_marked_at_once_and_taken_back_at_once(cull: Any) -> None:
    keys(cull, "Shift+ArrowRight", "Shift+ArrowRight", "3")
    assert marks(cull) == ["3", "3", "3"]
    assert said(cull) == "3 pictures: 3 stars"
    keys(cull, "Space", "0")  # no longer in the selection, so it alone
    assert marks(cull) == ["3", "3"]
    keys(cull, "u", "Control+z")
    assert marks(cull) == []
    keys(cull, "Control+a", "x")
    assert marks(cull) == ["0x"] * 12
    keys(cull, "Control+a")
    assert said(cull) == "None selected"


def test_filters_hide_at_once_and_the_next_one_is_active(cull: Any) -> None:
    keys(cull, "5", "ArrowRight", "2", "ArrowRight", "x", "ArrowRight", "p")
    cull.get_by_role("button", name="Show 2 stars or more").click()
    assert count(cull) == "2 of 12"
    assert cull.locator(f"{VIEW} .tmc-cell").count() == 2
    keys(cull, "Home", "0")  # the filter lets it through no more: the other one is next
    assert count(cull) == "1 of 12"
    assert active(cull).endswith("; 2 stars")
    cull.get_by_role("button", name="Hide what is rejected").click()
    assert count(cull) == "11 of 12"
    cull.get_by_role("button", name="Show only what is picked").last.click()
    assert count(cull) == "1 of 12"
    keys(cull, "p")
    assert "No picture passes this filter." in cull.locator(VIEW).inner_text()
    keys(cull, "ArrowRight", "Enter", "c", "n", "x", "1")  # nothing to walk, nothing breaks
    keys(cull, "u")
    assert count(cull) == "1 of 12"


def test_what_a_filter_hides_is_selected_no_longer(cull: Any) -> None:
    keys(cull, "Shift+ArrowRight", "Shift+ArrowRight")
    cull.get_by_role("button", name="Hide what is rejected").click()
    keys(cull, "x")  # three are rejected, and out of sight
    assert count(cull) == "9 of 12"
    keys(cull, "Space")
    assert said(cull) == "1 selected"
    keys(cull, "p")
    assert (marks(cull), len(widget(cull, "picks"))) == (["0x"] * 3, 16)


def test_sorted_by_any_score_and_by_stars_and_grouped_by_prompt(cull: Any) -> None:
    keys(cull, "End", "3", "Home")
    order = cull.get_by_label("Sort by", exact=True).last
    order.select_option("stars")
    cull.get_by_role("button", name="Group by prompt").click()
    assert cull.locator(f"{VIEW} .tmc-heading").all_text_contents() == ["a heart", "a star"]
    cull.get_by_role("button", name="Group by prompt").click()
    keys(cull, "Home")
    assert active(cull).endswith("; 3 stars")
    order.select_option("second")  # rises while the first one falls
    keys(cull, "Home")
    assert active(cull).startswith("Rank 6")
    cull.get_by_role("button", name="Turn the order around").click()
    keys(cull, "Home")
    assert active(cull).startswith("Rank 1")


def test_two_are_compared_and_zoomed_at_the_same_place(cull: Any) -> None:
    keys(cull, "c")
    assert cull.locator(f"{VIEW} .tmc-number").all_text_contents() == ["#1", "#2"]
    frames = cull.locator(f"{VIEW} .tmc-frame")
    cull.wait_for_function("() => [...document.querySelectorAll('.tmc-full')].every(one => one.naturalWidth)")
    box = frames.nth(0).bounding_box()
    side = min(box["width"], box["height"])
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + (box["height"] - side) / 2
    cull.mouse.move(left + side * 0.25, top + side * 0.75)
    keys(cull, "z")
    styles = cull.locator(f"{VIEW} .tmc-full").evaluate_all(
        "all => all.map(one => [one.style.transform, one.style.transformOrigin])"
    )
    assert styles[0] == styles[1]
    assert styles[0][0].startswith("scale(2")
    found = [float(part) for part in re.findall(r"[\d.]+", styles[0][1])]
    assert found[0] == pytest.approx(left - box["x"] + side * 0.25, abs=1)
    assert found[1] == pytest.approx(top - box["y"] + side * 0.75, abs=1)
    cull.screenshot(path=str(shots() / "cull_compare.png"))
    keys(cull, "z", "ArrowRight", "2", "ArrowUp", "1")  # the right one walks on; up is the left one
    assert cull.locator(f"{VIEW} .tmc-caption").all_inner_texts() == ["#1\n+1.000\n\u2605", "#3\n+0.273\n\u2605\u2605"]
    assert marks(cull) == ["2", "1"]
    keys(cull, "Escape")
    assert cull.locator(f"{VIEW} .tmc-list").is_visible()


def test_a_survey_of_the_selected_and_what_is_known_of_one(cull: Any) -> None:
    keys(cull, "Space", "ArrowRight", "ArrowRight", "Space", "ArrowRight", "Space", "n", "i")
    assert cull.locator(f"{VIEW} .tmc-number").all_text_contents() == ["#1", "#3", "#4"]
    keys(cull, "Home", "ArrowRight", "x")
    assert marks(cull) == ["0x"]
    info = cull.locator(f"{VIEW} .tmc-info").inner_text()
    for text in ("#3", "+0.273", "\u22120.818", "rejected", str(2**62 + 4), "a heart"):
        assert text in info
    cull.wait_for_timeout(300)
    cull.screenshot(path=str(shots() / "cull_survey.png"))
    keys(cull, "n", "Enter")
    assert cull.locator(f"{VIEW} .tmc-number").all_text_contents() == ["#3"]
    keys(cull, "ArrowRight")
    assert cull.locator(f"{VIEW} .tmc-number").all_text_contents() == ["#4"]


def test_escape_leaves_and_the_run_saves_the_stars(cull: Any, server: Any) -> None:  # noqa: F811
    keys(cull, "4", "ArrowRight", "p", "x", "ArrowRight", "p", "Escape")
    cull.locator(VIEW).wait_for(state="detached")  # the page hears of a closed dialog a little later
    assert cull.evaluate("() => document.activeElement.getAttribute('aria-label')").startswith("Ranked pictures")
    assert "1 picked \u00b7 stars to send on" in cull.locator(".tm-bottom").inner_text()
    assert cull.locator(".tm-marked").all_text_contents()[:3] == ["\u2605" * 4, "\u2715", ""]
    cull.evaluate(
        f"""() => {{ const save = LiteGraph.createNode('TastemakerSaveRanked'); save.pos = [700, 100];
        app.graph.add(save); {RANK}.connect({RANK}.findOutputSlot('all scores'), save, 0); window.saveId = save.id }}"""
    )
    run(cull)
    assert cull.locator(".tm-bottom").inner_text().startswith("1 picked \u00b7 sent on")
    assert "stars" not in cull.locator(".tm-bottom").inner_text()
    cull.wait_for_function("() => app.nodeOutputs[window.saveId]?.images?.length === 12", timeout=60_000)
    entries = cull.evaluate("() => app.nodeOutputs[window.saveId].images")
    ratings, client = [], ComfyClient(server.address)
    for entry in entries[:3]:
        with Image.open(io.BytesIO(client.file(entry))) as picture:
            found = re.search(r'xmp:Rating="(-?\d)"', picture.text.get("XML:com.adobe.xmp", ""))
            ratings.append(found and found[1])
    assert ratings == ["4", "-1", None]


def test_leaving_lays_the_gallery_out_no_second_time(cull: Any) -> None:
    """Hundreds of cells put in anew took a frame of a tenth of a second and more."""
    cull.evaluate(
        """() => { window.moved = 0; const list = document.querySelector('.tastemaker-ranking .tm-list');
        window.watched = new MutationObserver(all => { window.moved += all.length; });
        window.watched.observe(list, { childList: true }); }"""
    )
    keys(cull, "3", "ArrowRight", "x", "Escape")
    assert cull.locator(".tm-marked").all_text_contents()[:3] == ["\u2605" * 3, "\u2715", ""]
    assert cull.locator(".tm-cell").nth(1).get_attribute("aria-label").endswith("; rejected")
    assert cull.evaluate("() => { window.watched.disconnect(); return window.moved; }") == 0


def test_the_buttons_do_what_the_keys_do_and_everything_has_a_name(cull: Any) -> None:
    cull.get_by_role("button", name="3 stars (3)").click()
    cull.get_by_role("button", name="Pick this picture (P)").click()
    assert (marks(cull), len(widget(cull, "picks"))) == (["3"], 16)
    keys(cull, "ArrowRight")  # a mouse leaves the keys to the pictures
    assert active(cull).startswith("Rank 2")
    cull.get_by_role("button", name="Take the last mark back (U)").click()
    assert widget(cull, "picks") == ""
    cull.locator(f"{VIEW} .tmc-cell").nth(4).click()
    cull.locator(f"{VIEW} .tmc-cell").nth(6).click(modifiers=["Shift"])
    assert said(cull) == "3 selected"
    nameless = cull.evaluate(
        """() => [...document.querySelectorAll('.tastemaker-cull :is(button, select, [role])')]
            .filter(e => !['presentation', 'status'].includes(e.getAttribute('role')))
            .filter(e => !e.getAttribute('aria-label')).map(e => e.outerHTML)"""
    )
    assert nameless == []


def test_tab_stays_inside_and_reaches_every_control(cull: Any) -> None:
    reached = set()
    for _ in range(40):
        keys(cull, "Tab")
        found = cull.evaluate(
            """() => { const one = document.activeElement;
            const inside = one === document.body || one.closest('.tastemaker-cull');
            return inside ? one.getAttribute('aria-label') : 'outside'; }"""
        )
        assert found != "outside"
        reached.add(found)
    assert {"Show all pictures", "Sort by", "5 stars (5)", "Reject this picture (X)", "Pictures"} <= reached


READ = (
    ".tmc-count",
    ".tmc-said",
    ".tmc-button",
    ".tmc-star",
    ".tmc-keys span",
    ".tmc-info dt",
    ".tmc-prompt",
    ".tmc-lit",
)


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_every_word_can_be_read_in_both_themes(cull: Any, palette: str) -> None:
    cull.evaluate("name => app.extensionManager.setting.set('Comfy.ColorPalette', name)", palette)
    try:
        cull.wait_for_timeout(1000)
        keys(cull, "i", "1", "ArrowRight", "p", "ArrowRight", "x", "ArrowRight", "Space")
        cull.get_by_role("button", name="Show 1 star or more").click()
        found = {part: cull.evaluate(CONTRAST, f"{VIEW} {part}") for part in READ}
        cull.get_by_role("button", name="Show all pictures").click()
        cull.wait_for_timeout(300)
        cull.screenshot(path=str(shots() / f"cull_{palette}.png"))
        assert {part: ratio for part, ratio in found.items() if ratio < 4.5} == {}
    finally:
        cull.evaluate("() => app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")


# a view of its own with rows that no run has made; its pictures are drawn once
MANY = """async count => {
    const style = [...document.querySelectorAll('link[data-tastemaker]')].find(one => one.href.includes('cull.css'));
    const { CullView } = await import(new URL('./view.js', style.href).href);
    const drawn = [...Array(8).keys()].map(i => {
        const canvas = document.createElement('canvas'), context = canvas.getContext('2d');
        [canvas.width, canvas.height] = i % 2 ? [256, 192] : [171, 256];
        context.fillStyle = `hsl(${i * 45} 40% 45%)`;
        context.fillRect(0, 0, 256, 256);
        return canvas.toDataURL('image/jpeg');
    });
    const rows = [...Array(count).keys()].map(i => ({ id: i.toString(16).padStart(16, '0'), rank: i + 1, score: -i,
        scores: { one: -i, two: (i * 7919) % 2003 }, prompt: `prompt ${i % 20}`, thumb: i % 8, view: i % 8 }));
    let own = { marks: new Map(), picks: new Set() };
    window.many = new CullView({ rows: () => rows, summary: () => ({ columns: ['one', 'two'] }), url: i => drawn[i],
        own: () => own, write: now => { own = now; },
        run() {}, closed() {} });
    window.many.open();
}"""
# scrolls to the end over some seconds: the most elements there were, and how long frames took
SCROLL = """() => new Promise(done => {
    const list = document.querySelector('.tastemaker-cull .tmc-list'), times = [];
    let last = performance.now(), most = 0;
    const step = now => {
        times.push(now - last); last = now;
        most = Math.max(most, document.querySelectorAll('.tastemaker-cull *').length);
        if (list.scrollTop + list.clientHeight >= list.scrollHeight - 1) return done({ most, times: times.slice(3) });
        list.scrollTop += 240;
        return requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
})"""


def test_of_two_thousand_only_what_is_near_is_in_the_page(page: Any) -> None:
    build(page)
    page.evaluate(MANY, 2000)
    try:
        at_first = page.locator(f"{VIEW} *").count()
        found = page.evaluate(SCROLL)
        times = sorted(found["times"])
        middle, worst = times[len(times) // 2], times[-1]
        measured = (
            f"{len(times)} frames, median {middle:.1f} ms, worst {worst:.1f} ms, {found['most']} elements at most"
        )
        (shots() / "cull_scroll.txt").write_text(measured, encoding="ascii")
        assert page.evaluate("() => document.querySelector('.tmc-list').scrollTop") > 20_000
        assert (
            found["most"] < 2 * at_first < 2000
        )  # four elements for each of some 150 pictures, whatever there are in all
        keys(page, "End")
        assert active(page).startswith("Rank 2000")
        assert page.locator(f"{VIEW} .tmc-active").get_attribute("aria-posinset") == "2000"
        keys(page, "5", "Home", "ArrowDown", "PageDown")
        page.get_by_role("button", name="Group by prompt").click()
        page.get_by_label("Sort by", exact=True).last.select_option("two")
        page.evaluate(SCROLL)
        assert page.locator(f"{VIEW} *").count() < 2 * at_first
        keys(page, "Home")
        assert page.locator(f"{VIEW} .tmc-heading").first.text_content() == "prompt 0"
        assert page.locator(f"{VIEW} .tmc-heading").count() < 4
        page.get_by_role("button", name="Show 5 stars").click()
        assert count(page) == "1 of 2,000"
    finally:
        page.evaluate("() => window.many.close()")


def test_the_other_renderer_opens_it_too(page: Any) -> None:
    set_renderer(page, "nodes 2.0")
    try:
        page.evaluate("() => app.graph.clear()")
        page.wait_for_timeout(1000)  # this renderer keeps the widgets of a node whose number comes back at once
        build(page, count=4, prompts="a heart")
        page.wait_for_timeout(1000)
        run(page)
        page.get_by_role("button", name="Look through all pictures over the whole window (F)").click()
        keys(page, "2", "Escape")
        assert marks(page) == ["2"]
        assert page.get_by_text("marks", exact=True).count() == 0  # the widget is the view's
    finally:
        page.evaluate("() => document.querySelector('.tastemaker-cull')?.close()")
        set_renderer(page, "classic")


# Load Images (a folder of four), Score and Learn Taste behind it, Rank behind Score: each opens the view
CHAIN = """folder => {
    app.graph.clear();
    app.graph.last_node_id = window.lastNumber = (window.lastNumber ?? 0) + 10;
    const make = (type, x, y, values = {}) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, y];
        app.graph.add(node);
        for (const [key, value] of Object.entries(values)) node.widgets.find(w => w.name === key).value = value;
        return node;
    };
    const join = (from, output, to, name) => from.connect(output, to, to.findInputSlot(name));
    const load = make('TastemakerLoadImages', -380, 60, { folder, default_prompt: 'a heart' });
    const reward = make('TastemakerLoadReward', -380, 560);
    const score = make('TastemakerScore', 40, 60);
    const rank = make('TastemakerRank', 460, 60);
    const learn = make('TastemakerLearnTaste', 940, 60, { name: 'culled', clicks_first: 0 });
    join(load, 0, score, 'images'); join(load, 1, score, 'prompts'); join(reward, 0, score, 'reward');
    join(score, 0, rank, 'scores'); join(score, 0, learn, 'scores'); join(reward, 0, learn, 'reward');
    app.canvas.ds.scale = 0.9;
    app.canvas.ds.offset[0] = 420;
    app.canvas.ds.offset[1] = 40;
}"""
SMALL_COPIES = """() => [...document.querySelectorAll('.tastemaker-cull .tmc-thumb')]
    .every(one => one.src.startsWith('blob:') && one.naturalWidth === 256)"""
NODE = "app.graph._nodes.find(n => n.type === 'Tastemaker{}')"


RUN_ALL = """() => {
    for (const node of app.graph._nodes) {
        const own = node.onExecuted;
        node.ranOnce = false;
        node.onExecuted = function () { own?.apply(this, arguments); node.ranOnce = true; node.onExecuted = own; };
    }
    app.queuePrompt(0);
}"""
ALL_RAN = "() => app.graph._nodes.filter(n => /Rank|Learn/.test(n.type)).every(n => n.ranOnce)"


def all_ran(page: Any) -> None:
    page.evaluate(RUN_ALL)
    page.wait_for_function(ALL_RAN, timeout=120_000)


def drawn(folder: Path, tint: int) -> None:
    """Four pictures of a disc, each of its own colours."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(4):
        picture = Image.new("RGB", (320, 240), (60 * i, 90 + tint, 200 - 40 * i))
        ImageDraw.Draw(picture).ellipse((90 + 20 * i, 60, 210 + 20 * i, 180), (220, 60 * i, 40))
        picture.save(folder / f"{i}.png")


def value(page: Any, node: str, name: str) -> str:
    return page.evaluate(f"() => {NODE.format(node)}.widgets.find(w => w.name === '{name}').value")


@pytest.mark.parametrize("renderer", ["classic", "nodes 2.0"])
def test_load_images_score_and_learn_taste_open_it_too(page: Any, server: Any, renderer: str) -> None:  # noqa: F811
    name = renderer.replace(" ", "_")
    drawn(server.output / f"mine_{name}", 20 + len(name))  # others for each: of these nothing has small copies yet
    set_renderer(page, renderer)
    try:
        page.evaluate(CHAIN, f"output/mine_{name}")
        page.wait_for_timeout(1000)
        all_ran(page)
        buttons = page.get_by_role("button", name="Look through all pictures over the whole window (F)")
        assert page.get_by_text("marks", exact=True).count() == 0
        buttons.filter(has_text="Cull 4").nth(0).click()  # Load Images
        assert active(page) == "Picture 1, 0.png, a heart"
        keys(page, "-", "-", "-")  # in small cells the page shows small copies, which it makes itself of these files
        page.wait_for_function(SMALL_COPIES)
        keys(page, "4", "ArrowRight", "p", "ArrowRight", "x")
        page.screenshot(path=str(shots() / f"cull_folder_{name}.png"))
        keys(page, "Escape")
        assert sorted(word[17:] for word in value(page, "LoadImages", "marks").split(",")) == ["0p", "0x", "4"]
        all_ran(page)
        page.locator(".tastemaker-report").nth(1).focus()
        keys(page, "f")  # Score: what was marked in Load Images holds, and can be taken back
        assert page.locator(f"{VIEW} .tmc-rated").all_text_contents()[0] == "\u2605" * 4
        assert page.get_by_label("Sort by", exact=True).last.locator("option").all_text_contents()[:2] == [
            "order",
            "tiny-imagereward",
        ]
        keys(page, "ArrowRight", "p", "5", "Escape")
        assert [word[17:] for word in value(page, "Score", "marks").split(",")] == ["5"]
        all_ran(page)
        assert page.locator(".tastemaker-ranking .tm-picked").count() == 0
        assert sorted(page.locator(".tm-marked").all_text_contents()) == ["", "\u2605" * 4, "\u2605" * 5, "\u2715"]
        page.screenshot(path=str(shots() / f"cull_chain_{name}.png"))
        page.locator(".tastemaker-taste button", has_text="Cull").click()
        assert page.locator(f"{VIEW} .tmc-cell").count() == 4
        keys(page, "End", "1", "Escape")
        assert len(value(page, "LearnTaste", "marks")) == 18
        assert value(page, "Rank", "marks") == ""
    finally:
        page.evaluate("() => document.querySelector('.tastemaker-cull')?.close()")
        set_renderer(page, "classic")


WHY = "app.graph._nodes.filter(n => n.type === 'TastemakerWhy')"


@pytest.mark.parametrize("renderer", ["classic", "nodes 2.0"])
def test_w_says_why_and_h_shows_where(page: Any, server: Any, renderer: str) -> None:  # noqa: F811
    name = renderer.replace(" ", "_")
    drawn(server.output / f"drawn_{name}", len(name))  # others for each: an answer stays with its picture
    set_renderer(page, renderer)
    try:
        page.evaluate(CHAIN, f"output/drawn_{name}")
        page.evaluate(f"() => app.graph.remove({NODE.format('LearnTaste')})")
        page.wait_for_timeout(1000)
        all_ran(page)
        press(page, "Home", "f")
        keys(page, "ArrowRight", "Enter", "w")
        assert said(page) == "Added the node Why This Score, and running it"
        part = page.locator(f"{VIEW} .tmw-part")
        part.wait_for(timeout=60_000)
        assert "against the mean of its 4 pictures" in part.inner_text()
        assert page.locator(f"{VIEW} .tmc-number").text_content() == "#2"  # nothing has moved
        first = page.locator(f"{VIEW} .tmc-full").get_attribute("src")
        keys(page, "h")
        assert "tastemaker_why_" in page.locator(f"{VIEW} .tmc-full").get_attribute("src")
        for palette in ("dark", "light") if renderer == "classic" else ("dark",):
            page.evaluate("name => app.extensionManager.setting.set('Comfy.ColorPalette', name)", palette)
            page.wait_for_timeout(700)
            page.screenshot(path=str(shots() / f"why_{name}_{palette}.png"))
            ratios = {one: page.evaluate(CONTRAST, f"{VIEW} {one}") for one in (".tmw-over", ".tmw-how", "li")}
            assert {one: ratio for one, ratio in ratios.items() if ratio < 4.5} == {}
        page.evaluate("() => app.extensionManager.setting.set('Comfy.ColorPalette', 'dark')")
        keys(page, "h")
        assert page.locator(f"{VIEW} .tmc-full").get_attribute("src") == first
        keys(page, "ArrowRight", "h")  # not asked yet: it asks
        assert said(page) == "Asking why: this runs the graph"
        page.wait_for_function(
            "() => document.querySelectorAll('.tastemaker-cull .tmw-part').length === 1", timeout=60_000
        )
        keys(page, "Escape", "Escape")
        assert page.evaluate(f"() => {WHY}.map(n => n.inputs.filter(i => i.link !== null).length)") == [2]
        press(page, "Home", "ArrowRight", "Enter", "h")
        assert "tastemaker_why_" in page.locator(".tm-right .tm-full").get_attribute("src")
        assert (
            page.locator(
                ".tm-right .tm-caption li, .tm-right .tm-caption .tmw-up, .tm-right .tm-caption .tmw-down"
            ).count()
            > 0
        )
        page.screenshot(path=str(shots() / f"why_viewer_{name}.png"))
        keys(page, "Escape")
        at = page.evaluate(f"() => [...{WHY}[0].pos]")
        page.evaluate("at => { app.canvas.ds.offset = [500 - at[0], 200 - at[1]]; }", at)
        page.wait_for_timeout(700)
        page.screenshot(path=str(shots() / f"why_node_{name}.png"))
    finally:
        page.evaluate("() => document.querySelectorAll('dialog[open]').forEach(one => one.close())")
        set_renderer(page, "classic")


def test_why_it_cannot_answer_is_said_in_the_view(page: Any, server: Any) -> None:  # noqa: F811
    """The page's own message lies behind the view, which covers the window."""
    drawn(server.output / "wordless", 60)
    page.evaluate(CHAIN, "output/wordless")
    page.evaluate(
        f"""() => {{ app.graph.remove({NODE.format("LearnTaste")});
        const reward = {NODE.format("LoadReward")}, load = {NODE.format("LoadImages")};
        reward.widgets.find(w => w.name === 'reward').value = 'tiny-aesthetic';
        load.widgets.find(w => w.name === 'default_prompt').value = ''; }}"""
    )
    all_ran(page)
    press(page, "Home", "f")
    page.evaluate(
        f"""() => {{ const needs = LiteGraph.createNode('TastemakerLoadReward');
        const why = LiteGraph.createNode('TastemakerWhy');
        app.graph.add(needs); app.graph.add(why);
        {RANK}.connect({RANK}.findOutputSlot('all scores'), why, 0); needs.connect(0, why, 1); }}"""
    )
    keys(page, "Enter", "w")
    page.wait_for_function("() => document.querySelector('.tmc-said').textContent.includes('compares a picture with')")
    assert said(page).startswith("scores: ")
    page.screenshot(path=str(shots() / "why_stopped.png"))
    keys(page, "Escape", "Escape")
    page.keyboard.press("Escape")  # the page's own message
    page.console_problems.clear()


# two branches, each with pictures and a Score of its own, a Rank behind the second; nothing runs
BRANCHES = """async () => {
    app.graph.clear();
    app.graph.last_node_id = window.lastNumber = (window.lastNumber ?? 0) + 20;
    const make = (type, x, y) => {
        const node = LiteGraph.createNode(type);
        node.pos = [x, y];
        app.graph.add(node);
        return node;
    };
    const join = (from, output, to, name) => from.connect(output, to, to.findInputSlot(name));
    const reward = make('TastemakerLoadReward', -400, 0);
    const loads = [0, 1].map(i => make('TastemakerLoadImages', -400, 300 + 500 * i));
    const scores = loads.map((load, i) => {
        const score = make('TastemakerScore', 0, 600 * i);
        join(load, 0, score, 'images'); join(reward, 0, score, 'reward');
        return score;
    });
    const rank = make('TastemakerRank', 400, 600);
    join(scores[1], 0, rank, 'scores');
    const style = [...document.querySelectorAll('link[data-tastemaker]')].find(one => one.href.includes('cull.css'));
    const { askWhy } = await import(new URL('../why/ask.js', style.href).href);
    const queue = app.queuePrompt;
    app.queuePrompt = () => {};
    try {
        return [loads[0], scores[0], rank, scores[1], loads[1], loads[0]].map((node, i) => {
            askWhy(node, [String(i)]);
            return app.graph._nodes.filter(one => one.type === 'TastemakerWhy').map(one => {
                const from = one.getInputNode(one.findInputSlot('scores'));
                return [from === scores[0] ? 'first' : from === rank ? 'rank' : from.type,
                    one.widgets.find(w => w.name === 'pictures').value];
            });
        });
    } finally {
        app.queuePrompt = queue;
    }
}"""


def test_of_several_branches_each_is_asked_about_its_own_pictures(page: Any) -> None:
    first, second = ["first", "1"], ["rank", "2"]
    assert page.evaluate(BRANCHES) == [
        [],  # of a folder nothing has scored yet nobody can say why
        [first],
        [first, second],
        [first, ["rank", "3"]],  # the same pictures as behind its Rank
        [first, ["rank", "4"]],
        [["first", "5"], ["rank", "4"]],
    ]


def test_nothing_complained(page: Any) -> None:
    assert page.console_problems == []
