"""Right before fast: the tiny models on the device against the CPU in float32, and against themselves."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tastemaker.images.convert import to_pil
from tastemaker.loaders import DiffusionModel, load_diffusion_model
from tastemaker.loaders.lora.apply import with_lora
from tastemaker.loaders.lora.read import make_lora
from tastemaker.rewards import Reward, load_reward
from tastemaker.rewards.models.preprocess import pil_pixels, pillow_crop
from tastemaker.sampling import SampleOptions, sample
from tastemaker.sampling.decode import decode, encode_images
from tastemaker.sampling.schedulers import SCHEDULERS
from tastemaker.training import FineTuneConfig, finetune
from tastemaker.training.learner.adapter import LoraAdapter

from .models import PROMPT
from .rows import DEVICE, GPU, Rows, wait

PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# mean difference of pictures in [0, 1] that rounding over ten steps may make
ALLOWED = {"float32": 5e-3, "float16": 1e-2, "bfloat16": 4e-2}
LONG = "(a red circle:1.3) and a blue star, " + "very small, " * 40
Make = Callable[[DiffusionModel], torch.Tensor]


def measure(rows: Rows) -> None:
    for name, work in (("sampling", _sampling), ("waits", _waits), ("itself", _itself), ("rewards", _rewards)):
        with rows.part(f"correct {name}"):
            work(rows)
    with rows.part("correct learning"):
        _learning(rows)
    with rows.part("correct resuming"):
        _resuming(rows)


# --- sampling ---------------------------------------------------------------------------------


def _ways(exact: DiffusionModel) -> Iterator[tuple[str, Make]]:
    """Yield every way of sampling by name."""
    told: dict[str, Any] = {"steps": 10, "seeds": [1, 2]}
    for name in SCHEDULERS:
        yield name, lambda m, name=name: sample(m, PROMPT, scheduler=name, **told).images
    start = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(3))
    half = torch.zeros(64, 64)
    half[:, :32] = 1
    lora = _random_lora(exact)
    few: dict[str, Any] = {"denoise": 0.6, "images": start, **told}
    yield "ddim, eta 1", lambda m: sample(m, PROMPT, eta=1.0, **told).images
    yield "unguided", lambda m: sample(m, PROMPT, guidance_scale=1.0, **told).images
    yield "prompts of two lengths", lambda m: sample(m, [PROMPT, LONG], **told).images
    yield "rescaled guidance", lambda m: sample(m, PROMPT, options=SampleOptions(guidance_rescale=0.7), **told).images
    yield "from an image", lambda m: sample(m, PROMPT, **few).images
    yield "inpainting", lambda m: sample(m, PROMPT, mask=half, scheduler="euler", **few).images
    yield "refiner", lambda m: sample(m, PROMPT, refiner=m, **told).images
    yield (
        "tiles",
        lambda m: sample(m, PROMPT, height=640, width=64, options=SampleOptions(vae_tiling="on"), **told).images,
    )
    yield "LoRA", lambda m: sample(with_lora(m, lora, 0.8), PROMPT, **told).images
    latents = torch.randn(2, exact.channels, 8, 8, generator=torch.Generator().manual_seed(4))
    yield "decoding", lambda m: decode(m, latents)
    yield "encoding", lambda m: encode_images(m, start.expand(2, -1, -1, -1))


def _random_lora(model: DiffusionModel) -> Any:
    generator = torch.Generator().manual_seed(5)
    adapter = LoraAdapter(model.unet, rank=4, alpha=4.0, targets="all", generator=generator)
    for up in adapter.up.values():
        up.data.normal_(0.0, 0.05, generator=generator)
    return make_lora("random", {(c, p.replace(".", "_")): layer for (c, p), layer in adapter.layers().items()})


def _sampling(rows: Rows) -> None:
    exact = load_diffusion_model("tiny-sdxl")
    models = {n: load_diffusion_model("tiny-sdxl", dtype=d, device=DEVICE) for n, d in PRECISIONS.items()}
    for way, make in _ways(exact):
        if not rows.room(f"correct {way}"):
            return
        with rows.part(f"correct {way}"):
            want = make(exact)
            found: dict[str, Any] = {}
            for name, model in models.items() if GPU else [("float32", exact)]:
                apart = (make(model) - want).abs()
                found[name] = {"mean": float(apart.mean()), "most": float(apart.max())}
            ok = all(found[n]["mean"] <= ALLOWED[n] for n in found)
            rows.row("correct", part=way, ok=ok, **found)
    plain, there = (
        load_diffusion_model("tiny-ddpm"),
        load_diffusion_model("tiny-ddpm", dtype=torch.float32, device=DEVICE),
    )
    for scheduler in ("ddim", "ddpm", "pndm"):
        with rows.part(f"correct tiny-ddpm {scheduler}"):
            told: dict[str, Any] = {"steps": 10, "seeds": [1, 2], "scheduler": scheduler}
            apart = (sample(there, **told).images - sample(plain, **told).images).abs()
            mean = float(apart.mean())
            rows.row("correct", part=f"tiny-ddpm {scheduler}", ok=mean < ALLOWED["float32"], mean=mean)


def _waits(rows: Rows) -> None:
    """Count where the host waits in runs of 5 and of 10 steps: the difference is inside the loop."""
    if not GPU:
        return
    model = load_diffusion_model("tiny-sdxl", dtype=torch.float16, device=DEVICE)
    for scheduler in SCHEDULERS:
        counts = []
        for steps in (5, 10):
            sample(model, PROMPT, scheduler=scheduler, steps=steps, seeds=[1, 2])
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                try:
                    sample(model, PROMPT, scheduler=scheduler, steps=steps, seeds=[1, 2])
                finally:
                    torch.cuda.set_sync_debug_mode("default")
            counts.append(Counter(f"{Path(w.filename).name}:{w.lineno}" for w in said))
        inside = counts[1] - counts[0]
        rows.row("waits", scheduler=scheduler, ok=not inside, a_call=sum(counts[0].values()), inside=dict(inside))


def _itself(rows: Rows) -> None:
    """Compare runs that must not differ: repeated, alone or in a batch."""
    model = load_diffusion_model("tiny-sdxl", dtype=torch.float16 if GPU else torch.float32, device=DEVICE)
    told: dict[str, Any] = {"steps": 10, "scheduler": "euler_ancestral"}
    first = sample(model, PROMPT, seeds=range(4), **told).images
    again = sample(model, PROMPT, seeds=range(4), **told).images
    alone = torch.cat([sample(model, PROMPT, seeds=[i], **told).images for i in range(4)])
    rows.row("correct", part="repeated", ok=bool(torch.equal(first, again)), most=float((first - again).abs().max()))
    apart = float((first - alone).abs().mean())
    rows.row("correct", part="alone or in a batch", ok=apart < ALLOWED["float16"], mean=apart)


# --- rewards ----------------------------------------------------------------------------------


def _rewards(rows: Rows) -> None:
    images = torch.rand(6, 333, 512, 3, generator=torch.Generator().manual_seed(6))
    want = load_reward("tiny-imagereward")(images, PROMPT)
    for name, dtype in PRECISIONS.items() if GPU else [("float32", torch.float32)]:
        apart = (load_reward("tiny-imagereward", dtype=dtype, device=DEVICE)(images, PROMPT) - want).abs().max()
        spread = float(apart / want.std())
        rows.row("correct", part=f"tiny-imagereward {name}", ok=spread < 0.2, share_of_spread=spread)
    with rows.part("correct pillow_crop"):
        zero, one = (0.0,) * 3, (1.0,) * 3
        pixels = (pil_pixels([to_pil(image) for image in images], 224, zero, one) * 255).round()
        differ = int((pillow_crop(images.to(DEVICE), 224).cpu() != pixels).sum())
        rows.row("correct", part="pixels that differ from Pillow's", ok=differ == 0, count=differ)


# --- learning ---------------------------------------------------------------------------------


def _config(**changes: Any) -> FineTuneConfig:
    told: dict[str, Any] = {"epochs": 1, "samples_per_epoch": 8, "group_size": 4, "steps": 4, "sample_every": 0}
    one = 1 if changes.get("algorithm") == "score" else 2
    return FineTuneConfig(**{**told, "learning_rate": 1e-3, "updates_per_epoch": one, **changes})


def brightness(images: torch.Tensor, prompts: Any) -> torch.Tensor:
    """Score by the mean of all pixels: smooth, so that rounding moves it little."""
    return images.mean(dim=(1, 2, 3))


def brightness_reward() -> Reward:
    """The same as a reward that has gradients."""
    return Reward("brightness", brightness, False, "", "brightness", gradient_score=brightness)


def _learned(model: DiffusionModel, config: FineTuneConfig, folder: Path | None = None) -> tuple[Any, torch.Tensor]:
    """Return the last report of a run and all its weights as one vector."""
    run = finetune(model, brightness_reward(), ["a red circle", "a blue star"], config, run_folder=folder)
    reports = list(run)
    weights = run.algorithm.worker.learner.named_parameters()
    vector = torch.cat([p.detach().float().cpu().flatten() for n, p in weights.items() if not n.endswith("down")])
    return reports[-1], vector


def _learning(rows: Rows) -> None:
    """Compare the algorithms with the CPU's; of everything else, see that it runs in float16."""
    exact = load_diffusion_model("tiny-sdxl")
    models = {n: load_diffusion_model("tiny-sdxl", dtype=d, device=DEVICE) for n, d in PRECISIONS.items()}
    for algorithm in ("clipped", "score", "matching", "reward_gradient"):
        _, want = _learned(exact, _config(algorithm=algorithm))
        for precision, model in models.items() if GPU else [("float32", exact)]:
            with rows.part(f"correct learning {algorithm} {precision}"):
                report, found = _learned(model, _config(algorithm=algorithm))
                same = float(torch.cosine_similarity(found, want, dim=0))
                figures = {k: v for k, v in report.figures.items() if k != "learning_rate"}
                rows.row("learning", part=algorithm, precision=precision, ok=same > 0.5, cosine=same, figures=figures)
    model = models["float16"] if GPU else exact
    several: list[dict[str, Any]] = [
        {"gradient_checkpointing": "on"},
        {"kl_weight": 0.01},
        {"ema_decay": 0.9},
        {"fresh_noise": "window", "window_stop": 0.5, "shared_start": "on"},
        {"scheduler": "euler_ancestral", "advantages": "prompt"},
        {"algorithm": "matching", "matching_form": "nft", "proximal_weight": 1.0, "reference_weight": 0.1},
        {"train": "full", "learning_rate": 1e-5},
        {"evaluate_every": 1, "evaluate_samples": 4, "evaluate_steps": 4, "sample_every": 1},
    ]
    for changes in several:
        name = ", ".join(f"{k} {v}" for k, v in changes.items())
        if not rows.room(f"correct learning {name}"):
            return
        with rows.part(f"correct learning {name}"):
            report, found = _learned(model, _config(**changes))
            ok = bool(torch.isfinite(found).all())
            figures = {k: v for k, v in report.figures.items() if k != "learning_rate"}
            rows.row("learning", part=name, precision="float16", ok=ok, figures=figures)


def _resuming(rows: Rows) -> None:
    """Compare two epochs in one go with one, then another from its checkpoint."""
    for precision in ("float32", "float16") if GPU else ("float32",):
        model = load_diffusion_model("tiny-sdxl", dtype=PRECISIONS[precision], device=DEVICE)
        _, want = _learned(model, _config(epochs=2))
        with tempfile.TemporaryDirectory() as folder:
            _learned(model, _config(epochs=1), Path(folder) / "run")
            _, found = _learned(model, _config(epochs=2), Path(folder) / "run")
        wait()
        same = float(torch.cosine_similarity(found, want, dim=0))
        rows.row(
            "correct", part=f"resumed, {precision}", ok=same > 0.99, cosine=same, equal=bool(torch.equal(found, want))
        )
