"""What a grid consists of: its axes, its cells, and the pictures in them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, NamedTuple

from ...core.errors import InputError
from ...core.settings import MAX_SEED, check_fields, setting
from ...core.texts import check_prompts
from ...sampling.settings import SampleSettings
from .axes import NONE, SETTINGS, Axis, Given, read_axis

MAX_PICTURES = 1024
_WRITE = "Values of it: 2, 4, 7 or 1..4 or 10..50 by 10; names of schedulers; empty is all connected models or prompts."


@dataclass(frozen=True)
class GridSettings:
    """The axes of a grid and the seeds in each cell.

    Raises InputError, naming the field, when a value is outside its limits.
    """

    columns: str = setting("guidance_scale", "What changes from left to right.", options=SETTINGS)
    column_values: str = setting("2, 4, 7", _WRITE)
    rows: str = setting("steps", "What changes from top to bottom.", options=(NONE, *SETTINGS))
    row_values: str = setting("10, 25", _WRITE)
    pages: str = setting(NONE, "A third setting: a sheet for each of its values.", options=(NONE, *SETTINGS))
    page_values: str = setting("", _WRITE)
    seed: int = setting(
        0,
        "The first seed. Every cell has the same seeds: only the setting differs.",
        low=0,
        high=MAX_SEED - 256,
    )
    seeds: int = setting(
        4, "Pictures of each prompt in a cell. More say more surely which setting is best.", low=1, high=256
    )

    def __post_init__(self) -> None:
        check_fields(self)


class Shot(NamedTuple):
    """One picture to be: which model at which LoRA strength, its prompt, seed and settings."""

    cell: int
    model: int
    strength: float | None
    prompt: str
    seed: int
    settings: SampleSettings


@dataclass(frozen=True)
class Plan:
    """A grid: three axes, and the pictures by page, row, column and variant.

    Attributes:
        columns, rows, pages: the axes; one that is "none" has one value.
        variants: what the pictures of one cell are called: "seed 7", "a red heart, seed 7".
        shots: the pictures; `variants` times as many as there are cells.
    """

    columns: Axis
    rows: Axis
    pages: Axis
    variants: tuple[str, ...]
    shots: tuple[Shot, ...]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(pages, rows, columns, pictures in a cell)."""
        return len(self.pages), len(self.rows), len(self.columns), len(self.variants)

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """Columns, rows, pages."""
        return self.columns, self.rows, self.pages

    def place(self, cell: int) -> tuple[int, int, int]:
        """Return (column, row, page) of a cell."""
        pages, rows, columns, _ = self.shape
        return cell % columns, cell // columns % rows, cell // (columns * rows)

    def words(self, cell: int) -> str:
        """Say which cell it is: "guidance_scale 5, steps 20"."""
        said = (axis.words(at) for axis, at in zip(self.axes, self.place(cell), strict=True))
        return ", ".join(word for word in said if word)

    def named(self, error: InputError) -> InputError:
        """Return an error about a setting for the input that its value came from."""
        widget = next((axis.widget for axis in self.axes if axis.setting == error.name), error.name)
        return error.named(widget)


def make_plan(asked: GridSettings, base: SampleSettings, prompts: Sequence[str], models: Sequence[str]) -> Plan:
    """Return the grid that was asked for, over settings that are otherwise `base`.

    Args:
        prompts: texts; where they are no axis, each cell has pictures of all of them.
        models: names of the connected models; where they are no axis, there may be one only.

    Raises InputError, by the widget's name.
    """
    check_prompts(prompts)
    given = Given(models, prompts, range(asked.seed, asked.seed + asked.seeds))
    axes = [
        read_axis(getattr(asked, f"{name}s"), getattr(asked, f"{name}_values"), f"{name}_values", given)
        for name in ("column", "row", "page")
    ]
    used = [axis.setting for axis in axes if axis.setting != NONE]
    for place, name in ((1, "rows"), (2, "pages")):
        axis = axes[place]
        if axis.setting != NONE and any(axis.setting == other.setting for other in axes[:place]):
            raise InputError(name, axis.setting, "Two axes go through the same setting. Pick another, or none.")
    if len(models) > 1 and "model" not in used:
        raise InputError("model_2", f"{len(models)} models", "Pick model as columns, rows or pages, or connect one.")
    inside = _inside(used, prompts, given.seeds)
    count = len(axes[0]) * len(axes[1]) * len(axes[2]) * len(inside)
    if count > MAX_PICTURES:
        raise InputError("seeds", f"{count:,} pictures", f"A grid has at most {MAX_PICTURES:,}: take fewer seeds.")
    several = len(prompts) > 1 and "prompt" not in used
    variants = [", ".join([prompt] * several + [f"seed {seed}"] * ("seed" not in used)) for prompt, seed in inside]
    shots = []
    for cell, values in enumerate(product(*(axis.values for axis in reversed(axes)))):
        chosen = dict(zip((axis.setting for axis in reversed(axes)), values, strict=True))
        shots += [_shot(cell, chosen, base, prompts, *one, axes) for one in inside]
    return Plan(axes[0], axes[1], axes[2], tuple(variants), tuple(shots))


def _inside(used: Sequence[str], prompts: Sequence[str], seeds: Sequence[int]) -> list[tuple[str, int]]:
    """Return (prompt, seed) of the pictures in each cell: all of what is no axis."""
    return list(product(prompts[:1] if "prompt" in used else prompts, seeds[:1] if "seed" in used else seeds))


def _shot(
    cell: int,
    chosen: dict[str, Any],
    base: SampleSettings,
    prompts: Sequence[str],
    prompt: str,
    seed: int,
    axes: Sequence[Axis],
) -> Shot:
    """Return one picture of a cell whose axes have the values `chosen`."""
    if "prompt" in chosen:
        prompt = prompts[chosen["prompt"]]
    fields = {name: value for name, value in chosen.items() if hasattr(base, name)}
    try:
        settings = replace(base, **fields)
    except InputError as e:
        widget = next((axis.widget for axis in axes if axis.setting == e.name), e.name)
        raise e.named(widget) from e
    model, strength = chosen.get("model", 0), chosen.get("lora_strength")
    return Shot(cell, model, strength, prompt, chosen.get("seed", seed), settings)


def units(shots: Sequence[Shot], missing: Sequence[int], at_once: int) -> list[list[int]]:
    """Return the missing pictures in the order they are sampled, at most `at_once` of the same settings together.

    A model or a LoRA's strength changes as rarely as can be.
    """
    together: dict[tuple[int, float | None], dict[SampleSettings, list[int]]] = {}
    for i in missing:
        shot = shots[i]
        together.setdefault((shot.model, shot.strength), {}).setdefault(shot.settings, []).append(i)
    by_model = sorted(together, key=lambda one: one[0])  # stable: strengths as they came
    lists = [same for one in by_model for same in together[one].values()]
    return [same[k : k + at_once] for same in lists for k in range(0, len(same), at_once)]
