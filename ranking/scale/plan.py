"""What to rank as a JSON file, for the command line and clusters.

    {"pictures": ["/data/renders", "/data/shards"], "rewards": {"imagereward-v1.0": 1.0},
     "models_folder": "/ComfyUI/models/rewards", "top_k": 100, "output": "ranked"}

Paths are relative to the file's folder. This is for people at a command line: nodes take no paths.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import InputError
from ...core.texts import check_prompts
from ...images.folder import PROMPT_SOURCES
from ...loaders.formats.precision import DTYPES
from ...loaders.formats.weights import read_json

if TYPE_CHECKING:
    import torch

    from ...rewards.reward import Reward

GROUPS, FORMATS = ("all", "prompt"), ("csv", "parquet")
_MOST_KEPT = 10_000  # pictures that the sheet's page and the copies are made of
_MOST_UNIT = 100_000


@dataclass(frozen=True)
class Plan:
    """What a plan file may say. Raises InputError, naming the entry, for what it may not.

    Attributes:
        pictures: a folder of pictures (its sub-folders too), a folder of .tar shards, or one .tar; or several of them.
        rewards: name -> weight; each is normalised before several are summed, as Combine Rewards does. A list is
            each with weight 1.
        output: the folder where everything goes.
        models_folder: where the rewards' files are, as ComfyUI/models/rewards.
        prompts_from: where prompts come from: auto, metadata, txt or none.
        default_prompt: for pictures without one.
        top_k: how many of the best are kept as files: of each prompt where `group_by` is "prompt", else of all.
        format: of the list of all scores, csv or parquet (which needs pyarrow).
        unit: pictures of a folder that are one unit of work; a shard is always one.
        dtype: what rewards run in; empty: float16 on a GPU, else float32.
        base: the plan file's folder.
    """

    pictures: tuple[str, ...]
    rewards: Mapping[str, float]
    output: str
    models_folder: str = "."
    prompts_from: str = "auto"
    default_prompt: str = ""
    top_k: int = 100
    group_by: str = "all"
    format: str = "csv"
    unit: int = 1000
    dtype: str = ""
    base: Path = field(default=Path("."), compare=False)

    def __post_init__(self) -> None:
        for name, known in (("prompts_from", PROMPT_SOURCES), ("group_by", GROUPS), ("format", FORMATS)):
            if getattr(self, name) not in known:
                raise InputError(name, getattr(self, name), f"Pick one of {', '.join(known)}.")
        for name, least, most in (("top_k", 0, _MOST_KEPT), ("unit", 1, _MOST_UNIT)):
            if not least <= getattr(self, name) <= most:
                raise InputError(name, getattr(self, name), f"It must be from {least} to {most:,}.")
        if self.dtype not in ("", *DTYPES):
            raise InputError("dtype", self.dtype, f"Pick one of {', '.join(DTYPES)}.")
        check_prompts([self.default_prompt], "default_prompt")
        if self.format == "parquet":
            import_parquet()

    def path(self, name: str) -> Path:
        return self.base / name

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on; how much is kept of it may change."""
        free = ("base", "output", "models_folder", "top_k", "group_by", "format")
        values = {spec.name: getattr(self, spec.name) for spec in fields(self) if spec.name not in free}
        return values | {"pictures": list(self.pictures), "rewards": dict(self.rewards)}


def import_parquet() -> Any:
    """Import pyarrow's Parquet writer. Raises InputError where it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as e:
        raise InputError("format", "parquet", "It needs pyarrow: pip install pyarrow. Or set csv.") from e
    return pyarrow.parquet


def read_plan(path: Path) -> Plan:
    """Read a plan from its file. Raises InputError, and ModelFileError for what is no JSON object."""
    content = read_json(path)
    known = {spec.name: spec for spec in fields(Plan) if spec.name != "base"}
    odd = sorted(set(content) - set(known))
    if odd:
        raise InputError("plan", odd[0], f"A plan has {', '.join(known)}.")
    missing = [n for n in ("pictures", "rewards", "output") if n not in content]
    if missing:
        raise InputError("plan", missing[0], "This entry is missing.")
    for name in known.keys() - {"pictures", "rewards"}:
        kind = int if name in ("top_k", "unit") else str
        if name in content and type(content[name]) is not kind:
            raise InputError(name, content[name], f"It must be a {kind.__name__}.")
    pictures = _names("pictures", content["pictures"])
    return Plan(**{**content, "pictures": pictures, "rewards": _weights(content["rewards"]), "base": path.parent})


def _names(name: str, value: Any) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(one, str) and one for one in names):
        raise InputError(name, value, "It must be a path, or a list of them.")
    return tuple(names)


def _weights(value: Any) -> dict[str, float]:
    weights = value if isinstance(value, dict) else dict.fromkeys(_names("rewards", value), 1.0)
    good = all(isinstance(w, (int, float)) and not isinstance(w, bool) for w in weights.values())
    if not weights or not good:
        raise InputError("rewards", value, 'They are a list of names, or {"name": weight}.')
    return {str(name): float(weight) for name, weight in weights.items()}


def load_rewards(plan: Plan, device: torch.device | str) -> Reward:
    """Load a plan's rewards as one. Raises InputError and ModelFileError, as loading does."""
    import torch

    from ...rewards import load_reward
    from ...rewards.combined import combine

    on_cpu = torch.device(device).type == "cpu"
    dtype = getattr(torch, plan.dtype or ("float32" if on_cpu else "float16"))
    folders = [plan.path(plan.models_folder)]
    loaded = [(load_reward(n, source=folders, dtype=dtype, device=device), w) for n, w in plan.rewards.items()]
    return loaded[0][0] if len(loaded) == 1 else combine(loaded)
