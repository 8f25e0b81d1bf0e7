"""What arrives at a node is checked against the node's own schema, before the node sees it.

The host checks neither JSON that stands where a wire belongs, nor the values of lists, nor the limits of a number that
comes over a wire, and any output may be connected to a wire that takes everything.
"""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Callable, Mapping
from functools import wraps
from inspect import signature
from typing import Any, NamedTuple

from comfy_api.latest import io

from ..core.errors import InputError, TastemakerError, shown


class WireError(TastemakerError):
    """A value that its wire does not carry. The message names the input, what was found and what to connect."""

    def __init__(self, name: str, expected: str, value: object, advice: str) -> None:
        super().__init__(f"{name}: expected {expected}, found {described(value)}. {advice}")
        self.name = name


class Wire(NamedTuple):
    """What a wire carries: what it is called, whether a value is that, and what to connect."""

    expected: str
    fits: Callable[[Any], bool]
    advice: str


def checked(
    execute: Callable[..., Any] | None = None,
    *,
    looked_up: tuple[str, ...] = (),
    called: Mapping[str, str] | None = None,
) -> Callable[..., Any]:
    """Make an `execute` refuse, by the input's name, what its node's schema does not allow. Goes below `@classmethod`.

    Args:
        looked_up: lists of files that change while the host runs: the node looks the value up by itself.
        called: the name of an input for what the library calls otherwise, so that every error names an input.

    What it raises: WireError for what no wire of that type carries, InputError for a widget's value.
    """
    if execute is None:
        return lambda function: checked(function, looked_up=looked_up, called=called)

    names = list(signature(execute).parameters)[1:]

    @wraps(execute)
    def safe(cls: type[io.ComfyNode], *given: Any, **values: Any) -> Any:
        values |= dict(zip(names, given, strict=False))
        schema = cls.SCHEMA or cls.define_schema()
        for entry in sorted(schema.inputs, key=lambda entry: not isinstance(entry, io.WidgetInput)):
            if entry.id in values:
                check_input(entry, values[entry.id], each=bool(schema.is_input_list), looked_up=looked_up)
        try:
            return execute(cls, **values)
        except InputError as e:
            if called and e.name in called:
                raise e.named(called[e.name]) from e
            raise

    safe.looked_up = looked_up  # type: ignore[attr-defined]
    return safe


def check_input(entry: io.Input, value: Any, *, each: bool = False, looked_up: tuple[str, ...] = ()) -> None:
    """Check one input's value; of an `is_input_list` node (`each`) every entry. Raises WireError, InputError."""
    if each:
        if not isinstance(value, list):
            raise WireError(entry.id, "a list", value, "The host gives this node lists.")
        for one in value:
            check_input(entry, one, looked_up=looked_up)
        return
    if isinstance(entry, io.WidgetInput):
        _check_widget(entry, value, entry.id in looked_up)
    elif value is not None or not entry.optional:  # None: nothing is connected
        _check_wire(entry, value)


# --- widgets ----------------------------------------------------------------------------------


def _check_widget(entry: Any, value: Any, looked_up: bool) -> None:
    if isinstance(entry, io.Int.Input):
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or not _within(entry, value):
            raise InputError(entry.id, value, f"It must be a whole number{_limits(entry)}.")
    elif isinstance(entry, io.Float.Input):
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not math.isfinite(_as_float(value)) or not _within(entry, value):
            raise InputError(entry.id, value, f"It must be a number{_limits(entry)}.")
    elif isinstance(entry, io.Boolean.Input):
        if not isinstance(value, bool):
            raise InputError(entry.id, value, "It must be true or false.")
    elif isinstance(entry, io.Combo.Input):
        if not isinstance(value, str) or not (looked_up or value in entry.options):
            raise InputError(entry.id, value, f"Pick one of {_first(entry.options)}.")
    elif isinstance(entry, io.String.Input):
        if not isinstance(value, str):
            raise InputError(entry.id, value, "It must be a text.")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise InputError(entry.id, value, "The text holds a broken character (a lone surrogate).")


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _within(entry: Any, value: Any) -> bool:
    return (entry.min is None or value >= entry.min) and (entry.max is None or value <= entry.max)


def _limits(entry: Any) -> str:
    if entry.min is not None and entry.max is not None:
        return f" from {entry.min} to {entry.max}"
    return "" if entry.min is None else f", at least {entry.min}"


def _first(options: list[str]) -> str:
    more = f" and {len(options) - 20} more" if len(options) > 20 else ""
    return ", ".join(map(str, options[:20])) + more


# --- wires ------------------------------------------------------------------------------------


def _check_wire(entry: io.Input, value: Any) -> None:
    kinds = entry.get_io_type().split(",")
    if any(kind not in WIRES for kind in kinds):  # the host's own wires that we only hand on
        return
    wires = [WIRES[kind] for kind in kinds]
    if not any(wire.fits(value) for wire in wires):
        expected = " or ".join(dict.fromkeys(wire.expected for wire in wires))
        raise WireError(entry.id, expected, value, " ".join(dict.fromkeys(wire.advice for wire in wires)))


def described(value: object) -> str:
    """Say what a value is in a few words, for somebody who looks for where it came from."""
    import torch

    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f"text {json.dumps(value[:100])}"
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, (bool, int, float)):
        return shown(value)
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return f"a record with {', '.join(shown(key, 20) for key in list(value)[:5]) or 'nothing in it'}"
    return f"a {type(value).__name__}"


def _is_model(value: Any) -> bool:
    from ..loaders import DiffusionModel

    return isinstance(value, DiffusionModel)


def _is_reward(value: Any) -> bool:
    from ..rewards import Reward

    return isinstance(value, Reward)


def _is_prompts(value: Any) -> bool:
    from .wires import PromptList

    return isinstance(value, PromptList)


def _is_scores(value: Any) -> bool:
    from ..ranking import ScoreTable

    return isinstance(value, ScoreTable)


def _is_pictures(value: Any) -> bool:
    from ..images.pictures import Pictures

    return isinstance(value, Pictures)


def _is_options(value: Any) -> bool:
    from ..sampling import SampleOptions

    return isinstance(value, SampleOptions)


def _is_training(value: Any) -> bool:
    from ..training import FineTuneConfig

    return isinstance(value, FineTuneConfig)


def _is_search(value: Any) -> bool:
    from ..search import SearchSettings

    return isinstance(value, SearchSettings)


def _is_report(value: Any) -> bool:
    from ..training import EpochReport

    return isinstance(value, tuple) and all(isinstance(one, EpochReport) for one in value)


def _is_evaluation(value: Any) -> bool:
    from ..evaluation.result import Evaluation

    return isinstance(value, Evaluation)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_floats(value: Any, *dimensions: int) -> bool:
    """Whether a value is a tensor of real numbers that are there, of so many dimensions."""
    import torch

    there = isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta
    return there and value.is_floating_point() and value.ndim in dimensions


def _is_latent(value: Any) -> bool:
    if not isinstance(value, dict) or not _is_floats(value.get("samples"), 4, 5):
        return False
    mask = value.get("noise_mask")
    return mask is None or _is_floats(mask, 2, 3, 4, 5)


_FROM_SCORE = "Connect Score, or Rank's scores."
WIRES: Mapping[str, Wire] = {
    "TASTE_MODEL": Wire("a TASTE_MODEL", _is_model, "Connect Load Taste Model."),
    "TASTE_REWARD": Wire("a TASTE_REWARD", _is_reward, "Connect Load Reward, Combine Rewards or Learn Taste."),
    "TASTE_PROMPTS": Wire("TASTE_PROMPTS", _is_prompts, "Connect Prompts, Sample or Load Images (folder)."),
    "STRING": Wire("a text", _is_text, "Any node that makes a text will do."),
    "TASTE_SCORES": Wire("TASTE_SCORES", _is_scores, _FROM_SCORE),
    "TASTE_PICTURES": Wire("TASTE_PICTURES", _is_pictures, "Connect Load Images (folder)."),
    "TASTE_OPTIONS": Wire("TASTE_OPTIONS", _is_options, "Connect Sample Options."),
    "TASTE_TRAINING": Wire("TASTE_TRAINING", _is_training, "Connect Fine-Tune Settings."),
    "TASTE_SEARCH": Wire("a TASTE_SEARCH", _is_search, "Connect Search Settings."),
    "TASTE_REPORT": Wire("a TASTE_REPORT", _is_report, "Connect Fine-Tune's report."),
    "TASTE_VOTES": Wire("TASTE_VOTES", _is_text, "Connect Vote."),
    "TASTE_EVALUATION": Wire("a TASTE_EVALUATION", _is_evaluation, "Connect Evaluate."),
    "IMAGE": Wire(
        "an IMAGE (numbers of shape batch, height, width, 3)",
        lambda value: _is_floats(value, 4),
        "Connect pictures from Sample or any other node.",
    ),
    "LATENT": Wire("a LATENT (samples of batch, channels, height, width)", _is_latent, "Connect Sample's latents."),
    "MASK": Wire("a MASK (numbers of batch, height, width)", lambda v: _is_floats(v, 2, 3, 4), "Connect a mask."),
}
