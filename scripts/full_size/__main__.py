"""Loads full-size SDXL files and folders, made here with random weights, and measures time and memory.

    python -m scripts.full_size FOLDER            writes about 20 GB into FOLDER, and deletes it again
    python -m scripts.full_size FOLDER --keep
    python -m scripts.full_size FOLDER --size 128 --dtype bfloat16

There is no published checkpoint in this repository. What stands in for it has the published sizes and names
(`scripts/full_size/official.py` compares them with ComfyUI's own modules) and bfloat16 weights from a small pool of
random numbers, so that writing 7 GB takes little memory. The same model is written as a folder, with
`fp16` file names as Playground v2 has them, and as a single file; both must load to the same tensors.
Each load runs in a process of its own, so that its memory can be told.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import shutil
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from scripts.comfy.locate import ROOT
from scripts.full_size.official import Modules, as_stored, official_modules, original_groups
from tastemaker.loaders.layout.configs import SDXL_SCHEDULER

DTYPE = torch.bfloat16
_POOL = torch.randn(2**22, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(DTYPE)
_STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}


def value(part: str, key: str, shape: torch.Size) -> torch.Tensor:
    """Return the weights of one module tensor, the same each time; norms scale by 1."""
    if "norm" in key and key.endswith("weight"):
        return torch.ones(shape, dtype=DTYPE)
    start = int.from_bytes(hashlib.sha256(f"{part}:{key}".encode()).digest()[:4], "big") % len(_POOL)
    index = (torch.arange(shape.numel()) + start).remainder_(len(_POOL))
    return _POOL[index].view(shape)


# --- writing ----------------------------------------------------------------------------------


def write_safetensors(path: Path, shapes: dict[str, torch.Size], tensors: Iterable[torch.Tensor]) -> None:
    """Write a bfloat16 safetensors file, one tensor at a time in the order of `shapes`."""
    entries: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        size = shape.numel() * DTYPE.itemsize
        entries[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for (name, shape), tensor in zip(shapes.items(), tensors, strict=True):
            assert tensor.shape == shape, name
            file.write(tensor.contiguous().view(torch.int16).numpy().tobytes())


def weights(modules: Modules, part: str) -> dict[str, torch.Size]:
    return {k: t.shape for k, t in modules[part].state_dict().items() if not k.endswith("position_ids")}


def write_file(modules: Modules, path: Path) -> None:
    """Write the model as one file in the original layout, with the scale that no module here uses."""
    shapes = {part: weights(modules, part) for part in modules}
    groups = {
        name: sorted(entries, key=lambda entry: entry[2].third or 0)
        for name, entries in original_groups(modules).items()
    }
    stored = {
        name: as_stored([torch.empty(shapes[p][k], device="meta") for p, k, _ in entries], entries[0][2]).shape
        for name, entries in groups.items()
    }

    def tensors() -> Iterator[torch.Tensor]:
        for entries in groups.values():
            yield as_stored([value(p, k, shapes[p][k]) for p, k, _ in entries], entries[0][2])
        yield torch.zeros((), dtype=DTYPE)

    g = next(name for name in stored if name.endswith("positional_embedding"))
    scale = g.replace("positional_embedding", "logit_scale")
    write_safetensors(path, stored | {scale: torch.Size([])}, tensors())


def write_folder(modules: Modules, folder: Path) -> None:
    """Write the model as a diffusers folder with `fp16` file names."""
    index: dict[str, Any] = {
        "_class_name": "StableDiffusionXLPipeline",
        "scheduler": ["diffusers", "EulerAncestralDiscreteScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
    }
    for part, module in modules.items():
        library = "diffusers" if part in _STEMS else "transformers"
        index[part] = [library, type(module).__name__]
        (folder / part).mkdir(parents=True)
        save_config = module.save_config if part in _STEMS else module.config.save_pretrained
        save_config(folder / part)
        path = folder / part / f"{_STEMS.get(part, 'model')}.fp16.safetensors"
        shapes = weights(modules, part)
        write_safetensors(path, shapes, (value(part, k, s) for k, s in shapes.items()))
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(ROOT / "assets" / "clip-tokenizer", folder / name)
    (folder / "scheduler").mkdir()
    scheduler = SDXL_SCHEDULER | {"_class_name": "EulerAncestralDiscreteScheduler"}
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler))
    (folder / "model_index.json").write_text(json.dumps(index))


# --- loading and measuring --------------------------------------------------------------------


class Memory:
    """Peak of this process's own memory (mapped files left out), sampled, in GB."""

    def __enter__(self) -> Memory:
        self.peak, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self.now())

    @staticmethod
    def now() -> float:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e6

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def digest(module: torch.nn.Module) -> str:
    """Return a hash of a module's names and weights."""
    found = hashlib.sha256()
    for key, tensor in module.state_dict().items():
        found.update(key.encode())
        if tensor.is_floating_point():
            found.update(tensor.contiguous().view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def load_and_step(source: str, dtype: str, size: int, answers: Any) -> None:
    """Load a model, take one denoising step, and report; runs in a process of its own."""
    from tastemaker.loaders import load_diffusion_model
    from tastemaker.sampling import sample

    torch.set_num_threads(1)
    said: dict[str, Any] = {"source": Path(source).name, "dtype": dtype}
    began = time.monotonic()
    with Memory() as memory:
        model = load_diffusion_model(source, dtype=getattr(torch, dtype))
    said["load_s"], said["load_peak_gb"] = round(time.monotonic() - began, 1), round(memory.peak, 2)
    tensors = [t for m in model.modules.values() for t in m.state_dict().values()]
    said["model_gb"] = round(sum(t.numel() * t.element_size() for t in tensors) / 1e9, 2)
    said["architecture"] = model.architecture
    said["digests"] = {name: digest(module) for name, module in model.modules.items()}
    began = time.monotonic()
    if model.architecture == "sdxl":
        samples = sample(model, "a lighthouse", steps=1, guidance_scale=1.0, seeds=[1], height=size, width=size)
        said["finite"] = bool(torch.isfinite(samples.images).all())
        said["shape"] = list(samples.images.shape)
    else:
        latents = torch.randn(1, 4, size // 8, size // 8, dtype=model.dtype)
        context = torch.zeros(1, 77, model.unet.config.cross_attention_dim, dtype=model.dtype)
        added = {"text_embeds": context[:, 0], "time_ids": torch.tensor([[size, size, 0, 0, 6.0]], dtype=model.dtype)}
        with torch.no_grad():
            output = model.unet(latents, 100, context, added_cond_kwargs=added).sample
        said["finite"], said["shape"] = bool(torch.isfinite(output).all()), list(output.shape)
    said["step_s"] = round(time.monotonic() - began, 1)
    answers.put(said)


def measure(source: Path, dtype: str, size: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=load_and_step, args=(str(source), dtype, size, answers))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{source.name} could not be loaded (exit {process.exitcode}).")
    said = answers.get()
    print(json.dumps(said), flush=True)
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128, help="pixels of the picture's side")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float16", "float32"))
    parser.add_argument("--keep", action="store_true", help="leave the files there")
    options = parser.parse_args()
    folder, file, refiner = (options.folder / n for n in ("sdxl", "sdxl.safetensors", "sdxl-refiner.safetensors"))
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    try:
        for path, write, is_refiner in (
            (folder, write_folder, False),
            (file, write_file, False),
            (refiner, write_file, True),
        ):
            began = time.monotonic()
            if not path.exists():
                write(official_modules(refiner=is_refiner), path)
            files = path.rglob("*") if path.is_dir() else [path]
            total = sum(p.stat().st_size for p in files if p.is_file()) / 1e9
            print(f"wrote {path.name}: {total:.2f} GB in {time.monotonic() - began:.0f} s", flush=True)
        found = [measure(path, options.dtype, options.size) for path in (folder, file, refiner)]
        assert found[0]["digests"] == found[1]["digests"], "the file and the folder load to different weights"
        assert all(said["finite"] for said in found)
        print("the file and the folder load to the same weights; every step was finite")
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
            file.unlink(missing_ok=True)
            refiner.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
