"""Which setting is best and how sure that is, by hand; and the sheet that shows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tastemaker.plots.theme import GOLD
from tastemaker.ranking import ScoreTable
from tastemaker.ranking.intervals import t95
from tastemaker.sampling import SampleSettings
from tastemaker.search.grid.means import Mean, in_words, means
from tastemaker.search.grid.plan import GridSettings, Plan, make_plan
from tastemaker.search.grid.run import Grid
from tastemaker.search.grid.sheet import sheet


def plan(seeds: int = 3, **given: str) -> Plan:
    axes = {"columns": "guidance_scale", "column_values": "1, 3", "rows": "steps", "row_values": "2, 4"}
    return make_plan(GridSettings(**axes | given, seeds=seeds), SampleSettings(), ["a heart"], ["one"])


# rows steps 2, steps 4; in them guidance 1, guidance 3; in them three seeds
SCORES = torch.tensor([0.0, 1.0, 2.0, 1.0, 2.0, 3.0, 0.0, 1.0, 2.0, 1.25, 2.5, 2.25])


def test_means_of_cells_rows_and_columns_by_hand() -> None:
    found = means(plan(), SCORES)
    assert [m.value for m in found.cells] == pytest.approx([1.0, 2.0, 1.0, 2.0])
    assert [m.value for m in found.columns] == pytest.approx([1.0, 2.0])
    assert [m.value for m in found.rows] == pytest.approx([1.5, 1.5])
    assert found.best == 1  # the first of equals
    # a cell: three seeds of standard deviation 1
    assert found.cells[0].reach == pytest.approx(t95(2) * 1 / 3**0.5)
    # a row: the two pictures of a seed count as one: means 0.5, 1.5, 2.5
    assert found.rows[0].reach == pytest.approx(t95(2) * 1 / 3**0.5)


def test_two_settings_are_compared_on_the_same_seeds() -> None:
    column, row = means(plan(), SCORES).leads
    assert (column.axis, column.best, column.other) == (0, 1, 0)
    # guidance 3 - guidance 1 of the three seeds: (1 + 1.25) / 2, (1 + 1.5) / 2, (1 + 0.25) / 2
    apart = torch.tensor([1.125, 1.25, 0.625], dtype=torch.float64)
    assert column.difference.value == pytest.approx(1.0)
    assert column.difference.reach == pytest.approx(t95(2) * float(apart.std()) / 3**0.5, rel=1e-5)
    assert column.sure
    assert not row.sure
    assert column.difference.reach < means(plan(), SCORES).columns[0].reach  # far surer than two intervals


def test_few_seeds_say_nothing_of_others() -> None:
    made = plan(seeds=2)
    found = means(made, torch.arange(8.0))
    assert all(m.reach is None for m in (*found.cells, *found.columns, *found.rows))
    assert not any(lead.sure for lead in found.leads)
    assert "too few seeds" in in_words(made, found, "r")


def test_prompts_and_seeds_as_axes_have_no_pairs() -> None:
    made = plan(rows="seed", row_values="")
    found = means(made, torch.arange(6.0))
    assert [m.value for m in found.rows] == pytest.approx([0.5, 2.5, 4.5])
    assert [lead.axis for lead in found.leads] == [0]
    assert found.columns[0].reach is not None  # over the three seeds
    assert found.rows[0].reach is None


def test_words_name_the_best_and_how_sure_it_is() -> None:
    made = plan()
    lines = in_words(made, means(made, SCORES), "r").split("\n")
    assert lines[0] == "4 cells of 3 pictures, scored by r"
    assert lines[1].startswith("best: guidance_scale 3, steps 2 with +2.000 \u00b1 ")
    assert lines[2].startswith("guidance_scale: 3 is best")
    assert lines[2].endswith("above 1, which is more than chance")
    assert lines[3].endswith("which may be chance")


def test_the_sheet_frames_the_best_cell_alone() -> None:
    made = plan(pages="scheduler", page_values="ddim, euler")
    scores = torch.cat([SCORES, SCORES - 1])
    table = ScoreTable(torch.full((24, 16, 16, 3), 0.5), ("a heart",) * 24, (0, 1, 2) * 8, {"r": scores}, "r")
    grid = Grid(made, table, means(made, scores), 0)
    pages = [np.asarray(sheet(grid, page)) for page in (0, 1)]
    assert pages[0].shape == pages[1].shape
    gold = [(page == GOLD).all(-1) for page in pages]
    frames = [int(one.sum(0).max()) for one in gold]  # the longest upright golden line
    assert frames[0] > 100 > frames[1]


@pytest.mark.parametrize(("columns", "rows"), [("1..32", "1..32"), ("5", "3"), ("1..2", "1..32")])
def test_a_sheet_of_any_grid_stays_within_bounds(columns: str, rows: str, tmp_path: Path) -> None:
    made = plan(seeds=1, column_values=columns, row_values=rows)
    count = len(made.shots)
    scores = torch.linspace(-1, 1, count)
    table = ScoreTable(torch.full((count, 8, 8, 3), 0.5), ("a heart",) * count, (0,) * count, {"r": scores}, "r")
    picture = sheet(Grid(made, table, means(made, scores), 0), 0)
    assert picture.width * picture.height < 2**24
    assert means(made, scores).cells[0] == Mean(-1.0, None)
