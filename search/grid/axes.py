"""What a widget's text says of one axis: "5, 7, 9", "1..4", "2..10 by 2", or names. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, fields
from decimal import Decimal
from typing import Any, NamedTuple

from ...core.errors import InputError
from ...core.settings import MAX_SEED, check_value
from ...loaders.lora.apply import MAX_STRENGTH
from ...sampling.schedulers import NAMES
from ...sampling.settings import SampleSettings

NONE = "none"
MAX_VALUES = 32
MAX_TEXT = 2000
_NUMBER = r"[+-]?[0-9]{1,19}(?:\.[0-9]{1,9})?"
_RANGE = re.compile(rf"({_NUMBER})\s*\.\.\s*({_NUMBER})(?:\s+by\s+({_NUMBER}))?")
_SINGLE = re.compile(_NUMBER)
_FIELDS: dict[str, Field] = {spec.name: spec for spec in fields(SampleSettings)}
_NUMBERED = ("steps", "guidance_scale", "eta")
SETTINGS = ("guidance_scale", "steps", "scheduler", "model", "lora_strength", "prompt", "seed", "eta")


@dataclass(frozen=True)
class Axis:
    """One axis: the setting it goes through, its values and how they are written.

    `values` are numbers, scheduler names, or for models and prompts their places among those connected.
    """

    setting: str
    values: tuple[Any, ...]
    labels: tuple[str, ...]
    widget: str = ""  # where the values stand, for messages

    def __len__(self) -> int:
        return len(self.values)

    def words(self, place: int) -> str:
        """Say one value with its setting: "steps 20"; empty for the axis that is none."""
        if self.setting in ("", NONE):
            return ""
        return self.labels[place] if self.setting in ("model", "prompt") else f"{self.setting} {self.labels[place]}"


class Given(NamedTuple):
    """What an axis can choose among: the connected models' names, the prompts, and the seeds of each cell."""

    models: Sequence[str]
    prompts: Sequence[str]
    seeds: Sequence[int]


def read_axis(setting: str, text: str, widget: str, given: Given) -> Axis:
    """Read one axis. Raises InputError, for the input `widget`, that says what may stand there."""
    if setting == NONE:
        if text.strip():
            raise InputError(widget, text, "There is no setting for these values: pick one, or leave this empty.")
        return Axis(NONE, (None,), ("",), widget)
    if len(text) > MAX_TEXT:
        raise InputError(widget, f"{len(text):,} characters", f"At most {MAX_TEXT:,}.")
    items = [item.strip() for item in re.split("[,;\n]", text) if item.strip()]
    axis = _READERS[setting](setting, items, widget, given)
    if len(set(axis.values)) < len(axis.values):
        twice = next(label for i, label in enumerate(axis.labels) if axis.values[i] in axis.values[:i])
        raise InputError(widget, twice, "This value stands there twice; once is enough.")
    return axis


def numbers(items: Sequence[str], widget: str, example: str, *, whole: bool) -> list[Any]:
    """Return the numbers that items such as "5", "1..4" and "2..10 by 2" stand for. Raises InputError."""
    found: list[Decimal] = []
    for item in items:
        part = _RANGE.fullmatch(item)
        if part:
            found += _stretch(*part.groups(), item=item, widget=widget)
        elif _SINGLE.fullmatch(item):
            found.append(Decimal(item))
        else:
            raise InputError(widget, item, f"Write numbers and ranges, such as {example}.")
        if len(found) > MAX_VALUES:
            raise InputError(widget, item, f"At most {MAX_VALUES} values for one axis.")
    if not found:
        raise InputError(widget, "nothing", f"Write the values, such as {example}.")
    odd = next((one for one in found if whole and one != one.to_integral_value()), None)
    if odd is not None:
        raise InputError(widget, str(odd), "They must be whole numbers.")
    return [int(one) if whole else float(one) for one in found]


def _stretch(first: str, last: str, step: str | None, *, item: str, widget: str) -> list[Decimal]:
    """Return the numbers from `first` to `last`, `step` apart (1, or -1 downwards)."""
    low, high = Decimal(first), Decimal(last)
    by = Decimal(step) if step is not None else Decimal(1 if high >= low else -1)
    if not by or (high - low) * by < 0:
        raise InputError(widget, item, "This step never gets from the first number to the last.")
    count = int((high - low) / by) + 1
    if count > MAX_VALUES:
        raise InputError(widget, item, f"At most {MAX_VALUES} values for one axis; take a larger step: 0..100 by 10.")
    return [low + by * k for k in range(count)]


# --- the kinds of settings ---------------------------------------------------------------------


def _from_fields(setting: str, items: list[str], widget: str, given: Given) -> Axis:
    spec = _FIELDS[setting]
    whole = isinstance(spec.default, int)
    values = numbers(items, widget, "10, 20, 30" if whole else "2, 4.5, 7", whole=whole)
    return _numbered(setting, values, widget, lambda value: check_value(spec, value))


def _numbered(setting: str, values: list[Any], widget: str, check: Callable[[Any], None]) -> Axis:
    for value in values:
        try:
            check(value)
        except InputError as e:
            raise e.named(widget) from e
    labels = tuple(str(value) if isinstance(value, int) else f"{value:.9g}" for value in values)
    return Axis(setting, tuple(values), labels, widget)


def _strengths(setting: str, items: list[str], widget: str, given: Given) -> Axis:
    def check(value: float) -> None:
        if abs(value) > MAX_STRENGTH:
            raise InputError(widget, value, f"A strength is a number from -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}.")

    return _numbered(setting, numbers(items, widget, "0, 0.5, 1", whole=False), widget, check)


def _seeds(setting: str, items: list[str], widget: str, given: Given) -> Axis:
    def check(value: int) -> None:
        if not 0 <= value <= MAX_SEED:
            raise InputError(widget, value, f"A seed is a whole number from 0 to {MAX_SEED}.")

    values = numbers(items, widget, "1..4", whole=True) if items else list(given.seeds)
    if len(values) > MAX_VALUES:
        raise InputError("seeds", len(values), f"At most {MAX_VALUES} where seeds are an axis.")
    return _numbered(setting, values, widget, check)


def _schedulers(setting: str, items: list[str], widget: str, given: Given) -> Axis:
    unknown = next((item for item in items if item not in NAMES), None)
    if unknown is not None or not items:
        raise InputError(widget, unknown or "nothing", f"Write names of {', '.join(NAMES)}.")
    return Axis(setting, tuple(items), tuple(items), widget)


def _places(setting: str, items: list[str], widget: str, given: Given) -> Axis:
    """Read numbers of connected models or prompts, from 1; all of them where nothing is written."""
    there = given.models if setting == "model" else given.prompts
    chosen = numbers(items, widget, "1, 3", whole=True) if items else list(range(1, len(there) + 1))
    if len(chosen) > MAX_VALUES:
        raise InputError(widget, len(chosen), f"At most {MAX_VALUES} values for one axis: write which, such as 1..5.")
    beyond = next((n for n in chosen if not 1 <= n <= len(there)), None)
    if beyond is not None:
        raise InputError(widget, beyond, f"They are numbered from 1 to {len(there)}.")
    labels = [there[n - 1] for n in chosen]
    twice = {label for label in labels if labels.count(label) > 1}
    shown = [f"{label} ({n})" if label in twice else label for label, n in zip(labels, chosen, strict=True)]
    return Axis(setting, tuple(n - 1 for n in chosen), tuple(shown), widget)


_READERS: dict[str, Callable[[str, list[str], str, Given], Axis]] = {
    **dict.fromkeys(_NUMBERED, _from_fields),
    "scheduler": _schedulers,
    "lora_strength": _strengths,
    "seed": _seeds,
    "model": _places,
    "prompt": _places,
}
