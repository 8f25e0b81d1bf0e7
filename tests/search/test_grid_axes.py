"""What may stand in an axis's widget, and the grid that comes of it: by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tastemaker.core.errors import InputError
from tastemaker.sampling import SampleSettings
from tastemaker.search.grid.axes import MAX_TEXT, MAX_VALUES, Given, read_axis
from tastemaker.search.grid.plan import GridSettings, make_plan, units

GIVEN = Given(["sdxl", "play", "play"], ["a heart", "a star"], [7, 8, 9])


def axis(setting: str, text: str) -> Any:
    return read_axis(setting, text, "column_values", GIVEN)


@pytest.mark.parametrize(
    ("setting", "text", "values"),
    [
        ("guidance_scale", "1, 2.5,7", (1.0, 2.5, 7.0)),
        ("steps", "10..30 by 10", (10, 20, 30)),
        ("steps", "1..3, 10", (1, 2, 3, 10)),
        ("steps", "4..2", (4, 3, 2)),
        ("steps", "30..10 by -10; 5", (30, 20, 10, 5)),
        ("guidance_scale", "1..1.3 by 0.1", (1.0, 1.1, 1.2, 1.3)),  # decimal, not binary
        ("eta", "0, 1", (0.0, 1.0)),
        ("lora_strength", "-1..1 by 0.5", (-1.0, -0.5, 0.0, 0.5, 1.0)),
        ("seed", "9223372036854775807", (2**63 - 1,)),
        ("seed", "", (7, 8, 9)),
        ("scheduler", "ddim, euler\nmodel default", ("ddim", "euler", "model default")),
        ("model", "", (0, 1, 2)),
        ("model", "3, 1", (2, 0)),
        ("prompt", "2", (1,)),
        ("none", "", (None,)),
    ],
)
def test_values_that_are_read(setting: str, text: str, values: tuple[Any, ...]) -> None:
    assert axis(setting, text).values == values


def test_labels_say_what_they_are() -> None:
    assert axis("guidance_scale", "2, 2.50").labels == ("2", "2.5")
    assert axis("model", "").labels == ("sdxl", "play (2)", "play (3)")  # two of one name have their numbers
    assert axis("prompt", "").words(1) == "a star"
    assert axis("steps", "4").words(0) == "steps 4"


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        *[("guidance_scale", text) for text in ("", " , ", "x", "1e999", "nan", "1..", "..", "1..2..3", "__import__")],
        *[("guidance_scale", text) for text in ("0.5", "51", "1..99999999", "1..2 by 0", "1..2 by -1", "2, 2")],
        ("guidance_scale", "\u0663"),  # a digit, and none of ours
        *[("steps", text) for text in ("0", "1.5", "1001", "9" * 19, "9" * 30, "-1")],
        *[("seed", text) for text in ("-1", "9223372036854775808", "1..40")],
        *[("scheduler", text) for text in ("", "DDIM", "ddim, ddim", "../ddim")],
        *[("model", text) for text in ("0", "4", "sdxl", "1, 1")],
        *[("prompt", text) for text in ("3", "a heart")],
        *[("lora_strength", text) for text in ("", "21", "-20.5")],
        ("none", "1"),
        ("steps", "1," * MAX_TEXT),
    ],
)
def test_values_that_are_refused_by_the_widgets_name(setting: str, text: str) -> None:
    with pytest.raises(InputError, match="^column_values: "):
        axis(setting, text)


def test_an_axis_is_bounded() -> None:
    assert len(axis("steps", f"1..{MAX_VALUES}")) == MAX_VALUES
    with pytest.raises(InputError, match="At most"):
        axis("steps", f"1..{MAX_VALUES}, 100")


def plan(
    base: SampleSettings | None = None, prompts: tuple[str, ...] = ("a heart",), models: Any = ("one",), **given: Any
) -> Any:
    settings = {"columns": "guidance_scale", "column_values": "1, 3", "rows": "steps", "row_values": "2, 4", "seeds": 2}
    return make_plan(GridSettings(**settings | given), base or SampleSettings(), prompts, models)


def test_every_cell_has_the_same_seeds_and_only_its_settings_differ() -> None:
    made = plan(seed=5)
    assert made.shape == (1, 2, 2, 2)
    assert made.variants == ("seed 5", "seed 6")
    rows = [(s.cell, s.settings.steps, s.settings.guidance_scale, s.seed) for s in made.shots]
    assert rows == [
        *[(0, 2, 1.0, 5), (0, 2, 1.0, 6), (1, 2, 3.0, 5), (1, 2, 3.0, 6)],
        *[(2, 4, 1.0, 5), (2, 4, 1.0, 6), (3, 4, 3.0, 5), (3, 4, 3.0, 6)],
    ]
    assert made.words(2) == "guidance_scale 1, steps 4"


def test_what_is_no_axis_is_in_each_cell() -> None:
    made = plan(prompts=("a heart", "a star"))
    assert made.variants == ("a heart, seed 0", "a heart, seed 1", "a star, seed 0", "a star, seed 1")
    made = plan(prompts=("a heart", "a star"), rows="prompt", row_values="")
    assert made.variants == ("seed 0", "seed 1")
    assert [s.prompt for s in made.shots] == ["a heart"] * 4 + ["a star"] * 4
    made = plan(rows="seed", row_values="", pages="scheduler", page_values="ddim, euler")
    assert made.shape == (2, 2, 2, 1)
    assert [s.seed for s in made.shots] == [0, 0, 1, 1] * 2
    assert [s.settings.scheduler for s in made.shots] == ["ddim"] * 4 + ["euler"] * 4


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"rows": "guidance_scale"}, "rows"),
        ({"pages": "steps", "page_values": "1"}, "pages"),
        ({"models": ("a", "b")}, "model_2"),
        ({"seeds": 257}, "seeds"),
        ({"seeds": 256, "column_values": "1..5"}, "seeds"),  # more pictures than a grid has
        ({"columns": "eta", "column_values": "0, 0.5", "base": SampleSettings(scheduler="euler")}, "column_values"),
        ({"prompts": ("a" * 20_000,)}, "prompts"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_by_name(given: dict[str, Any], name: str) -> None:
    with pytest.raises(InputError) as refused:
        plan(**given)
    assert refused.value.name == name


def test_the_model_changes_as_rarely_as_can_be() -> None:
    made = plan(
        models=("one", "two"), columns="model", column_values="", rows="lora_strength", row_values="0, 1", seeds=3
    )
    work = units(made.shots, range(12), 2)
    order = [(made.shots[one[0]].model, made.shots[one[0]].strength) for one in work]
    assert order == [(0, 0.0), (0, 0.0), (0, 1.0), (0, 1.0), (1, 0.0), (1, 0.0), (1, 1.0), (1, 1.0)]
    assert sorted(i for one in work for i in one) == list(range(12))
    assert max(map(len, work)) == 2
