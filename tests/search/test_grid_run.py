"""A grid that is sampled: once, from what is kept where that is whole, and as far as it came when it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.core.errors import InputError, TastemakerError
from tastemaker.images.png import read_png
from tastemaker.images.prompts import KEYWORDS
from tastemaker.loaders import read_lora, with_lora
from tastemaker.loaders.lora.apply import at_strength
from tastemaker.rewards import custom, load_reward
from tastemaker.sampling import SampleSettings, sample
from tastemaker.search.grid.cells import CellCache
from tastemaker.search.grid.plan import GridSettings, Plan, make_plan
from tastemaker.search.grid.run import Grid, run_grid
from tests.recorded import Recorded

LEVEL = 1.01 / 255  # stored in 8 bits; a batch's convolutions round a little differently than one picture's
PROMPT = "a red heart on a blue background"


@pytest.fixture(scope="module")
def reward() -> Any:
    return load_reward("jpeg-incompressibility")


def plan(prompts: tuple[str, ...] = (PROMPT,), models: tuple[str, ...] = ("one",), **given: Any) -> Plan:
    axes = {"columns": "guidance_scale", "column_values": "1, 3", "rows": "steps", "row_values": "1, 2", "seeds": 2}
    return make_plan(GridSettings(**axes | given), SampleSettings(), prompts, models)


@pytest.fixture
def run(tiny_sdxl: Any, reward: Any, tmp_path: Path) -> Callable[..., tuple[Grid, Recorded]]:
    """Runs a plan on tiny-sdxl; gives the grid and what was counted."""

    def one(made: Plan, models: Any = None, progress: Recorded | None = None, **options: Any) -> tuple[Grid, Recorded]:
        progress = progress or Recorded()
        cells = CellCache(tmp_path / "cells")
        return run_grid(made, models or [tiny_sdxl], reward, cells=cells, progress=progress, **options), progress

    return one


def sampled(progress: Recorded) -> int:
    """Network evaluations that were counted."""
    return max((done for phase, done, _ in progress.seen if phase == "sampling"), default=0)


def test_a_cell_holds_what_sample_makes_of_its_settings(run: Any, tiny_sdxl: Any) -> None:
    grid, progress = run(plan())
    assert grid.sampled == 8
    assert sampled(progress) == 2 * (1 + 2) * 2  # two columns of one and two steps, two seeds
    for i, shot in enumerate(grid.plan.shots):
        alone = sample(tiny_sdxl, PROMPT, shot.settings, seeds=[shot.seed]).images
        assert (grid.table.pictures.picture(i) - alone[0]).abs().max() < LEVEL
    assert grid.table.seeds == (0, 1) * 4
    assert grid.table.pictures.name(7) == "guidance_scale 3, steps 2"


def test_one_column_more_costs_that_column(run: Any) -> None:
    first, _ = run(plan())
    wider, progress = run(plan(column_values="1, 2, 3"))
    assert (wider.sampled, sampled(progress)) == (4, (1 + 2) * 2)
    again, progress = run(plan(column_values="1, 2, 3"))
    assert (again.sampled, sampled(progress)) == (0, 0)
    assert torch.equal(again.table.images, wider.table.images)
    old = [0, 1, 4, 5, 6, 7, 10, 11]  # the columns that were there
    assert torch.equal(wider.table.rows([0, 1, 4, 5]).images, first.table.rows([0, 1, 2, 3]).images)
    assert torch.equal(wider.table.rows(old).images, first.table.images)


def test_a_run_that_is_stopped_keeps_what_it_made(run: Any, tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    def stop(phase: str, done: int, total: int) -> None:
        if phase == "sampling" and done >= 5:
            raise Cancelled

    told: list[int] = []
    with pytest.raises(Cancelled):
        run(plan(), progress=Recorded(stop), on_picture=lambda i, file: told.append(i))
    assert told == [0, 1, 2, 3]  # the unit it was in is lost, no other
    resumed, progress = run(plan())
    assert resumed.sampled == 4
    assert not list((tmp_path / "cells").glob(".*"))


def damage(path: Path, way: str) -> None:
    data = path.read_bytes()
    other = next(one for one in sorted(path.parent.iterdir()) if one != path)
    if way == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif way == "another's":
        path.write_bytes(other.read_bytes())
    elif way == "empty":
        path.write_bytes(b"")
    elif way == "link":
        path.unlink()
        path.symlink_to(other)
    elif way == "pipe":
        path.unlink()
        os.mkfifo(path)
    else:  # other pixels under the old record
        from PIL import Image
        from PIL.PngImagePlugin import PngInfo

        info = PngInfo()
        info.add_text("tastemaker_cell", Image.open(path).text["tastemaker_cell"])
        Image.new("RGB", (64, 64)).save(path, pnginfo=info)


@pytest.mark.parametrize("way", ["cut", "another's", "empty", "link", "pipe", "repainted"])
def test_what_is_suspect_on_disk_is_made_again(run: Any, tmp_path: Path, way: str) -> None:
    first, _ = run(plan(column_values="1", row_values="1", seeds=2))
    damage(sorted((tmp_path / "cells").iterdir())[0], way)
    again, _ = run(plan(column_values="1", row_values="1", seeds=2))
    assert again.sampled == 1
    assert torch.equal(again.table.images, first.table.images)


def test_a_picture_that_stands_in_two_places_is_made_once(run: Any, tiny_sdxl: Any) -> None:
    told: list[int] = []
    made = plan(models=("one", "two"), columns="model", column_values="", row_values="1", seeds=1)
    grid, _ = run(made, models=[tiny_sdxl, tiny_sdxl], on_picture=lambda i, file: told.append(i))
    assert grid.sampled == 1
    assert told == [0, 1]
    assert torch.equal(grid.table.pictures.picture(0), grid.table.pictures.picture(1))


def test_other_prompts_models_and_options_are_other_pictures(run: Any, tiny_sdxl: Any) -> None:
    one = plan(column_values="2", row_values="1", seeds=1)
    assert run(one)[0].sampled == 1
    assert run(plan(column_values="2", row_values="1", seeds=1, prompts=("a star",)))[0].sampled == 1
    assert run(one, negative_prompt="blue")[0].sampled == 1
    assert run(one, models=[replace(tiny_sdxl, fingerprint="other weights")])[0].sampled == 1
    assert run(one)[0].sampled == 0


def test_lora_strengths_are_an_axis(run: Any, tiny_sdxl: Any, tmp_path: Path) -> None:
    from scripts.workflows.stand_ins import write_lora

    write_lora(tmp_path / "lora.safetensors")
    lora = read_lora(tmp_path / "lora.safetensors")
    styled = with_lora(tiny_sdxl, lora, 0.5)
    made = plan(columns="lora_strength", column_values="0, 0.5, 1", row_values="2", seeds=1)
    before = tiny_sdxl.unet.state_dict()["conv_in.weight"].clone()
    grid, _ = run(made, models=[styled])
    assert grid.sampled == 3
    for i, strength in enumerate((0.0, 0.5, 1.0)):
        alone = sample(with_lora(tiny_sdxl, lora, strength), PROMPT, made.shots[i].settings, seeds=[0]).images
        assert (grid.table.pictures.picture(i) - alone[0]).abs().max() < LEVEL
    assert at_strength(styled, 0.5) is styled
    assert at_strength(styled, 1.0).fingerprint != styled.fingerprint
    assert torch.equal(tiny_sdxl.unet.state_dict()["conv_in.weight"], before)
    with pytest.raises(InputError, match="^column_values: .* has no LoRA"):
        run(made)


def test_everything_is_checked_before_anything_is_sampled(run: Any, tiny_ddpm: Any) -> None:
    progress = Recorded()
    with pytest.raises(InputError, match="prompts"):
        run(plan(), models=[tiny_ddpm], progress=progress)
    made = make_plan(GridSettings(column_values="1", row_values="1"), SampleSettings(width=60), [PROMPT], ["one"])
    with pytest.raises(InputError, match="^width: "):
        run(made, progress=progress)
    assert progress.seen == []


def test_an_unconditional_model_has_grids_too(run: Any, tiny_ddpm: Any) -> None:
    made = plan(prompts=("",), columns="scheduler", column_values="ddim, euler", row_values="2", seeds=1)
    grid, _ = run(made, models=[tiny_ddpm])
    assert grid.sampled == 2
    assert grid.table.pictures.name(1) == "scheduler euler, steps 2"


def test_the_folder_is_bounded_and_what_is_in_use_stays(tmp_path: Path) -> None:
    cells = CellCache(tmp_path, most_bytes=3000)
    names = []
    for k in range(4):
        file = cells.store(f"{k}" * 64, torch.rand(16, 16, 3), {})
        os.utime(tmp_path / file.name, (k + 1, k + 1))
        names.append(file.name)
    size = (tmp_path / names[0]).stat().st_size
    assert 3000 / 4 < size < 3000 / 2
    cells.trim({names[0]})
    left = {path.name for path in tmp_path.iterdir()}
    assert names[0] in left  # the oldest, and in use
    assert names[1] not in left
    assert names[3] in left
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3000


def test_a_picture_says_what_it_was_made_with(tmp_path: Path, run: Any) -> None:
    run(plan(column_values="2", row_values="1", seeds=1), negative_prompt="blue")
    with next((tmp_path / "cells").iterdir()).open("rb") as file:
        text = read_png(file, KEYWORDS).texts["parameters"]
    assert text == (
        f"{PROMPT}\nNegative prompt: blue\n"
        "Steps: 1, Sampler: ddim, CFG scale: 2, Seed: 0, Size: 64x64, Model: tiny-sdxl"
    )


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TastemakerError, match="cannot be kept"):
        CellCache(tmp_path / "file" / "cells").store("0" * 64, torch.zeros(8, 8, 3), {})


def test_a_reward_that_gives_no_number_is_named(tiny_sdxl: Any, tmp_path: Path) -> None:
    broken = custom("broken", lambda images, prompts: torch.full((len(images),), float("nan")))
    with pytest.raises(TastemakerError, match="broken"):
        run_grid(plan(column_values="1", row_values="1"), [tiny_sdxl], broken, cells=CellCache(tmp_path / "cells"))
