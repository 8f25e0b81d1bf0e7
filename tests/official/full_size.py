"""Official files at their full sizes with random weights, for `make acceptance` where nobody has the real ones.

    python -m tests.official.full_size FOLDER NAME [NAME...]     writes entries of the manifest into a models folder
    python -m tests.official.full_size FOLDER --list             their names

Names, shapes, containers and 16 or 32 bits are as published. Weights come from a small pool of random numbers, so that
7 GB are written in little memory; they keep signals in range, so that a difference anywhere moves the result. What
they cannot show is whether the real weights are read rightly.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import shutil
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.conftest import OFFICIAL
from tests.loaders.test_weights import CHURCH
from tests.official import make
from tests.official.manifest import MODELS, Official
from tests.official.other_kinds import INCEPTION, LORAS, REWARDS
from tests.official.test_other_kinds import shapes_of

log = logging.getLogger(__name__)
_POOL = torch.randn(4_000_037, generator=torch.Generator().manual_seed(0))  # prime: rows begin elsewhere each time
_CODES = {torch.float16: "F16", torch.float32: "F32", torch.int64: "I64"}
_WHOLE = ("position_ids", "num_batches_tracked", "queue_ptr")  # endings of the names of whole numbers
_LORA_SIZE = 2.0  # large: one layer alone must move a picture
Shapes = Mapping[str, tuple[int, ...]]


def value(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Return the weights of a tensor, the same each time, exact in float16: norms near 1, matrices 1/sqrt(inputs)."""
    if name.endswith(_WHOLE):
        return torch.arange(math.prod(shape)).view(shape)
    if not shape:
        return torch.tensor(math.log(100), dtype=dtype)  # CLIP's scale
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % len(_POOL)
    count = math.prod(shape)
    numbers = _POOL.roll(-start).repeat(-(-count // len(_POOL)))[:count].view(shape)
    if len(shape) > 1:
        numbers = numbers * math.prod(shape[1:]) ** -0.5
    elif name.endswith("running_var"):
        numbers = 1 + numbers.abs() / 8
    else:
        numbers = numbers / 16 + float(name.endswith("weight"))
    return numbers.half().to(dtype)


def write_safetensors(path: Path, shapes: Shapes, dtype: torch.dtype, notes: Mapping[str, str] | None = None) -> None:
    """Write one tensor at a time."""
    entries: dict[str, object] = {"__metadata__": dict(notes)} if notes else {}
    at = 0
    for name, shape in shapes.items():
        kind = torch.int64 if name.endswith(_WHOLE) else dtype
        size = math.prod(shape) * kind.itemsize
        entries[name] = {"dtype": _CODES[kind], "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for name, shape in shapes.items():
            file.write(value(name, shape, dtype).numpy().tobytes())


def write_model(official: Official, models: Path) -> Path:
    """A diffusion model, under the published names of its files."""
    if official.kind == "file":
        path = models / "checkpoints" / official.name
        write_safetensors(path, official.tensors, torch.float16, official.notes)
        return path
    folder = models / "diffusers" / official.name
    files = full_size_configs(official)
    make.write_configs(official, files, folder)
    with torch.device("meta"):
        made = make.modules(files)
    for name, module in made.items():
        shapes = {k: tuple(v.shape) for k, v in module.state_dict().items() if not k.endswith("position_ids")}
        path = folder / make.weight_path(official, name)
        if path.suffix == ".bin":
            state = make.old_names({k: value(f"{name}.{k}", shape) for k, shape in shapes.items()})
            torch.save(state, path)
        else:
            write_safetensors(path, shapes, torch.float16 if ".fp16." in path.name else torch.float32)
    return folder


def full_size_configs(official: Official) -> dict[str, make.Json]:
    """The published configs; the DDPMs of 2022 are copied here with small widths, and get the church's again."""
    files = dict(official.files)
    if "config.json" in files and len(files["config.json"]["block_out_channels"]) == len(CHURCH["block_out_channels"]):
        files["config.json"] = files["config.json"] | CHURCH
    return files


def write_reward(official: Official, models: Path) -> Path:
    """A reward: a pickle of the published layout, or a folder as transformers writes one."""
    shapes, folder = shapes_of(official), models / "rewards"
    folder.mkdir(parents=True, exist_ok=True)
    for name in official.files:
        shutil.copy(OFFICIAL / "imagereward" / name, folder / name)  # the bytes as published, and not their content
    if "transformers" in official.expected:
        folder = folder / official.name
        write_safetensors(folder / "model.safetensors", shapes, torch.float32)
        config = make_clip_config(official)
        (folder / "config.json").write_text(json.dumps(config))
        return folder
    dtype = torch.float16 if official.expected.get("half") else torch.float32
    state: dict[str, object] = {name: value(name, shape, dtype) for name, shape in shapes.items()}
    inside = official.expected.get("inside")
    torch.save({inside: state, "epoch": 1} if inside else state, folder / official.name)
    return folder / official.name


def make_clip_config(official: Official) -> dict[str, object]:
    """The config.json beside a CLIP, with what its text encoder's class assumes said."""
    from tastemaker.rewards.models import _clip

    sizes = getattr(_clip, official.expected["transformers"])
    ends = {"bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": 1}
    return {"model_type": "clip", **sizes, "text_config": sizes["text_config"] | ends}


def write_inception(official: Official, models: Path) -> Path:
    """The Inception file, in the format before PyTorch 1.6."""
    from tastemaker.evaluation.fid.inception import Inception

    with torch.device("meta"):
        shapes = {k: tuple(v.shape) for k, v in Inception().state_dict().items()}
    path = models / "rewards" / official.name
    path.parent.mkdir(parents=True, exist_ok=True)
    state = OrderedDict((name, value(name, shape)) for name, shape in shapes.items())
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def write_lora(official: Official, models: Path) -> Path:
    """A LoRA of one layer, large enough to see."""
    path = models / "loras" / f"{official.name.replace(' ', '_').replace(',', '')}.safetensors"
    tensors = {
        name: value(name, shape) * _LORA_SIZE if shape else torch.ones(()) for name, shape in official.tensors.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def writers() -> dict[str, tuple[Official, Callable[[Official, Path], Path]]]:
    """Name of each entry -> the entry and what writes it; those that are refused are left out."""
    kinds: Iterable[tuple[tuple[Official, ...], Callable[[Official, Path], Path]]] = (
        (MODELS, write_model),
        (REWARDS, write_reward),
        (INCEPTION, write_inception),
        (LORAS, write_lora),
    )
    return {o.name: (o, write) for entries, write in kinds for o in entries if "refused" not in o.expected}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.official.full_size", description=__doc__.split("\n")[0])
    parser.add_argument("models", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--list", action="store_true")
    chosen = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    known = writers()
    if chosen.list or set(chosen.names) - known.keys():
        log.info("\n".join(known))
        raise SystemExit(0 if chosen.list else 2)
    for name in chosen.names:
        official, write = known[name]
        log.info("%s", write(official, chosen.models))


if __name__ == "__main__":
    main()
