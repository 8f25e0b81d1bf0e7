"""A whole study as a JSON file: which prompts, which models, what to measure. For the command line and clusters.

    {"protocol": "mjhq-30k", "folder": "/data/MJHQ-30K",
     "models": [{"title": "before", "model": "/models/sdxl"},
                {"title": "after", "model": "/models/sdxl", "loras": ["/runs/taste/lora.safetensors"]},
                {"title": "theirs", "pictures": "/data/theirs"}],
     "sampling": {"steps": 25, "guidance_scale": 3.0}, "features": "inception-v3", "rewards": ["clip-score"],
     "models_folder": "/ComfyUI/models/rewards", "output": "study"}

Paths are relative to the file's folder. This is for people at a command line: nodes take no paths.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from ..core.errors import InputError
from ..core.progress import Progress
from ..core.shares import Share
from ..loaders import load_diffusion_model, read_lora, with_lora
from ..loaders.formats.precision import DTYPES
from ..loaders.formats.weights import read_json
from ..rewards import load_reward
from ..sampling.settings import SampleSettings
from .evaluate import evaluate
from .fid.features import Extractor, load_extractor
from .fid.statistics import load_statistics
from .protocols import PROTOCOLS, PromptRow, read_protocol
from .references import Reference, folder_reference, protocol_reference
from .report.content import make_report
from .report.save import save_report
from .result import Evaluation
from .run import Run
from .settings import EvaluationSettings
from .sources import NamedFiles, Source, finished_names, sampled_pictures

log = logging.getLogger(__name__)

_ENDINGS = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Plan:
    """What a plan file may say. Raises InputError, naming the entry, for what it may not.

    Attributes:
        protocol, folder, count: which prompts, from where, how many; count 0 is as published.
        models: each has a `title`, and `model` (with `loras`, if any) or `pictures`, a folder of finished ones.
        output: where everything goes.
        sampling: fields of `SampleSettings`; height and width are the protocol's where they are not said.
        negative_prompt: for all models.
        settings: fields of `EvaluationSettings`.
        features, resize: what reads pictures for FID and KID; features empty: neither.
        reference: "protocol" (its own pictures), or a folder of pictures, or a `.safetensors` of stored statistics;
            empty: no FID.
        rewards: names of rewards.
        models_folder: where Inception's and the rewards' files are, as ComfyUI/models/rewards.
        dtype: what the diffusion model runs in; empty: float16 on a GPU.
        base: the plan file's folder.
    """

    protocol: str
    folder: str
    models: tuple[Mapping[str, Any], ...]
    output: str
    count: int = 0
    sampling: Mapping[str, Any] = field(default_factory=dict)
    negative_prompt: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    features: str = "inception-v3"
    resize: str = "clean"
    reference: str = "protocol"
    rewards: tuple[str, ...] = ()
    models_folder: str = "."
    dtype: str = ""
    base: Path = Path(".")

    def path(self, name: str) -> Path:
        return self.base / name


def read_plan(path: Path) -> Plan:
    """Read a plan from its file. Raises InputError, and ModelFileError for what is no JSON object."""
    content = read_json(path)
    known = {spec.name: spec for spec in fields(Plan) if spec.name != "base"}
    odd = sorted(set(content) - set(known))
    if odd:
        raise InputError("plan", odd[0], f"A plan has {', '.join(known)}.")
    missing = [n for n in ("protocol", "folder", "models", "output") if n not in content]
    if missing:
        raise InputError("plan", missing[0], "This entry is missing.")
    for name, value in content.items():
        kind = {"models": list, "rewards": list, "sampling": dict, "settings": dict, "count": int}.get(name, str)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise InputError(name, value, f"It must be a {kind.__name__}.")
    models = tuple(_model_entry(entry) for entry in content["models"])
    if not models or len({m["title"] for m in models}) != len(models):
        raise InputError("models", len(models), "Name at least one model, each with a title of its own.")
    if content.get("dtype", "") not in ("", *DTYPES):
        raise InputError("dtype", content["dtype"], f"Pick one of {', '.join(DTYPES)}.")
    _settings(SampleSettings, content.get("sampling", {}), "sampling")
    _settings(EvaluationSettings, content.get("settings", {}), "settings")
    return Plan(**{**content, "models": models, "rewards": tuple(content.get("rewards", ())), "base": path.parent})


def _model_entry(entry: Any) -> Mapping[str, Any]:
    good = isinstance(entry, dict) and isinstance(entry.get("title"), str) and entry["title"].strip()
    good = (
        good and set(entry) <= {"title", "model", "loras", "pictures"} and ("model" in entry) != ("pictures" in entry)
    )
    loras = entry.get("loras", []) if good else []
    if not good or not all(isinstance(v, str) for v in (*loras, entry.get("model", ""), entry.get("pictures", ""))):
        raise InputError("models", entry, "Each has a title, and either model (and loras) or pictures.")
    if any(c in entry["title"] for c in "/\\\0") or entry["title"].startswith("."):
        raise InputError("title", entry["title"], "It names a folder: leave out / and \\ and a dot in front.")
    return entry


def _settings(kind: type, values: Mapping[str, Any], name: str) -> Any:
    odd = sorted(set(values) - {spec.name for spec in fields(kind)})
    if odd:
        raise InputError(name, odd[0], f"There is {', '.join(spec.name for spec in fields(kind))}.")
    return kind(**values)


def run_plan(
    plan: Plan,
    *,
    share: Share | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Run a plan, or go on where it stopped, and write its report; returns the report's files, the page first.

    Only the process that gathers returns any. Raises what loading and `evaluate` raise.
    """
    share = share or Share()
    settings = _settings(EvaluationSettings, plan.settings, "settings")
    rows = read_protocol(plan.protocol, plan.path(plan.folder), count=plan.count, seed=settings.seed)
    folders = [plan.path(plan.models_folder)]
    extractor = (
        load_extractor(plan.features, folders=folders, resize=plan.resize, device=device) if plan.features else None
    )
    reference = _reference(plan, extractor)
    rewards = [load_reward(name, source=folders, device=device) for name in plan.rewards]
    results: list[Evaluation] = []
    for entry in plan.models:
        folder = plan.path(plan.output) / str(entry["title"])
        log.info("evaluating %s", entry["title"])
        run = Run(
            str(entry["title"]),
            rows,
            _source(plan, entry, rows, settings, folder, device),
            folder,
            PROTOCOLS[plan.protocol].title,
            extractor,
            reference,
            rewards,
            settings,
        )
        result = evaluate(run, share=share, progress=progress)
        results += [result] if result is not None else []
    return save_report(make_report(results), results, plan.path(plan.output)) if results else []


def _source(
    plan: Plan,
    entry: Mapping[str, Any],
    rows: Sequence[PromptRow],
    settings: EvaluationSettings,
    folder: Path,
    device: torch.device | str | None,
) -> Source:
    if "pictures" in entry:
        root = plan.path(entry["pictures"])
        return NamedFiles(root, finished_names(rows, settings.images_per_prompt, lambda name: (root / name).is_file()))
    name = entry["model"]
    embedded = not plan.path(name).exists()
    dtype = getattr(torch, plan.dtype) if plan.dtype else None
    model = load_diffusion_model(name if embedded else plan.path(name), dtype=dtype, device=device)
    for lora in entry.get("loras", []):
        model = with_lora(model, read_lora(plan.path(lora)))
    sampling = sampling_for(plan.protocol, plan.sampling)
    return sampled_pictures(model, rows, settings, sampling, folder, plan.negative_prompt)


def sampling_for(protocol: str, values: Mapping[str, Any]) -> SampleSettings:
    """Return sampling settings, of the protocol's size where none is said."""
    size = PROTOCOLS[protocol].size
    return SampleSettings(**{"height": size, "width": size, **values})


def _reference(plan: Plan, extractor: Extractor | None) -> Reference | None:
    if extractor is None or not plan.reference:
        return None
    kept = plan.path(plan.output) / "reference"
    if plan.reference == "protocol":
        return protocol_reference(plan.protocol, plan.path(plan.folder), kept)
    path = plan.path(plan.reference)
    if path.suffix == ".safetensors":
        return Reference(path.name, load_statistics(path))
    return folder_reference(path, kept)
