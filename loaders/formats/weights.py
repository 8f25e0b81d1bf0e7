"""Weight files: finding them by name, knowing what they are, reading them strictly."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ...core.errors import ModelFileError
from ...core.files import open_regular
from .limits import MAX_COMPONENT_BYTES, MAX_HEADER_BYTES, MAX_JSON_BYTES

if TYPE_CHECKING:
    import torch
    from torch import nn

# one number format for all tensors, one by a tensor's name, or None: as it is stored
DtypeOf: TypeAlias = "torch.dtype | Callable[[str], torch.dtype | None] | None"

_SHOWN_KEYS = 5
_LONGEST_NAME = 200


def read_json(path: Path, *, endless: bool = False) -> dict[str, Any]:
    """Read a JSON object of at most 4 MiB, with no key twice and no NaN; infinity only where `endless`.

    Raises ModelFileError.
    """
    try:
        if not path.is_file() and path.exists():
            raise ModelFileError(f"{path.name} in {path.parent.name} is not a file.")  # a pipe would never end
        with open_regular(path) as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise ModelFileError(f"{path.name} in {path.parent.name} is larger than 4 MiB: no model config is.")
        constant = _infinity if endless else _refuse_constant
        text = data.decode("utf-8")
        content = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=constant)
    except FileNotFoundError as e:
        raise ModelFileError(f"{path.parent.name} has no {path.name}. Download the model again.") from e
    except ModelFileError:
        raise
    except (OSError, ValueError, RecursionError, MemoryError) as e:
        reason = (e.strerror if isinstance(e, OSError) else str(e)) or type(e).__name__  # not the whole path
        raise ModelFileError(f"{path.name} in {path.parent.name} cannot be read as JSON: {reason[:200]}.") from e
    if not isinstance(content, dict):
        raise ModelFileError(f"{path.name} in {path.parent.name} is not a JSON object.")
    return content


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):  # which of the two counts would depend on the reader
        raise ValueError("a key stands there twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _infinity(name: str) -> float:
    if name == "NaN":
        _refuse_constant(name)
    return float(name)


def describe_file(path: Path) -> str:
    """What a file is, from its first bytes: `safetensors`, or the name of what it is instead. Raises OSError."""
    with open_regular(path) as file:
        head = file.read(16)
        size = os.fstat(file.fileno()).st_size
    if size == 0:
        return "an empty file"
    # the first eight bytes are the header's length: one file in 32 happens to begin like a pickle
    if size < 10 or head[8:9] != b"{":
        if head[:1] == b"\x80" or head[:2] == b"PK":
            return "a pickle (a PyTorch .bin, .ckpt or .pt under another name)"
        if head.lstrip()[:1] == b"<":
            return "a web page (the download was refused, or the link was to a page)"
        if head[:7] == b"version":
            return "a Git LFS pointer (clone again with git-lfs installed)"
        return "not a safetensors file"
    (header,) = struct.unpack("<Q", head[:8])
    if header > size - 8:
        return "a truncated safetensors file (download it again)"
    if header > MAX_HEADER_BYTES:
        return f"a file with a header of {header:,} bytes, which no model has"
    if size > MAX_COMPONENT_BYTES:
        return f"a file of {size:,} bytes, which no model known here has"
    return "safetensors"


def read_safetensors(path: Path, dtype: DtypeOf = None) -> dict[str, torch.Tensor]:
    """Read one file into memory of its own, floating tensors as `dtype` (None: as they are stored).

    `dtype` may be a function of a tensor's name.

    The tensors are copied: mapped ones are unaligned, which changes results in the last bits on a
    CPU, and change when somebody writes the file. One is copied at a time, so that no more is held than
    the result. Raises ModelFileError naming what the file is.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ModelFileError(f"There is no file {path.name} in {path.parent.name}.")
    kind = describe_file(path)
    if kind != "safetensors":
        raise ModelFileError(f"{path.name} in {path.parent.name} is {kind}; a safetensors file is needed.")
    try:
        with safe_open(path, framework="pt") as file:
            return {k: own_copy(file.get_tensor(k), dtype_of(k, dtype)) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, NotImplementedError) as e:
        # what an unknown number format or an impossible shape raises differs from version to version
        reason = str(e)[:200]
        raise ModelFileError(f"{path.name} in {path.parent.name} is damaged ({reason}). Download it again.") from e


def dtype_of(key: str, dtype: DtypeOf) -> torch.dtype | None:
    """The number format wanted of the tensor `key`."""
    return dtype(key) if callable(dtype) else dtype


def own_copy(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A contiguous copy in memory of its own, cast to `dtype` where it is floating."""
    import torch

    wanted = dtype if dtype is not None and tensor.is_floating_point() else tensor.dtype
    return tensor.to(wanted, copy=True, memory_format=torch.contiguous_format)


def find_weights(folder: Path, stem: str, *, prefer_half: bool, pickles: bool = False) -> list[Path]:
    """The weight files of a component, read from the file names, sharded ones too.

    `stem` is `diffusion_pytorch_model` or `model`. Both the plain and the `fp16` variant are known;
    `prefer_half` picks which when both are there. With `pickles`, `{stem}.bin` counts where there is no
    safetensors file. Raises ModelFileError listing what is there.
    """
    variants = [".fp16", ""] if prefer_half else ["", ".fp16"]
    for variant in variants:
        whole = folder / f"{stem}{variant}.safetensors"
        if whole.is_file():
            return [whole]
        index = folder / f"{stem}.safetensors.index{variant}.json"
        if index.is_file():
            return _shards(folder, index)
    pickled = folder / f"{stem}.bin"
    if pickles and pickled.is_file():
        return [pickled]
    there = ", ".join(sorted(p.name for p in folder.iterdir())[:12]) if folder.is_dir() else "no folder"
    raise ModelFileError(
        f"{folder.parent.name}/{folder.name} holds no {stem}.safetensors or {stem}.fp16.safetensors "
        f"(found: {there or 'nothing'}). Download the model again, with its safetensors files."
    )


def _shards(folder: Path, index: Path) -> list[Path]:
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not all(isinstance(n, str) for n in names.values()):
        raise ModelFileError(f"{index.name} in {folder.name} has no weight_map of file names.")
    shards = sorted(set(names.values()))
    for name in shards:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise ModelFileError(f"{index.name} in {folder.name} names a file outside its folder: {name!r}.")
        if len(name) > _LONGEST_NAME:
            raise ModelFileError(f"{index.name} in {folder.name} names a file of {len(name)} characters.")
    return [folder / name for name in shards]


def read_component(
    folder: Path, stem: str, *, prefer_half: bool, dtype: torch.dtype | None = None, pickles: bool = False
) -> dict[str, torch.Tensor]:
    """All tensors of a component of a model folder, cast to `dtype` one at a time.

    Raises ModelFileError for what `find_weights`, `read_safetensors` and `read_pickled` refuse, and for a
    tensor that two shards hold.
    """
    from .pickled import read_pickled

    state: dict[str, torch.Tensor] = {}
    for path in find_weights(folder, stem, prefer_half=prefer_half, pickles=pickles):
        part = read_pickled(path, dtype) if path.suffix == ".bin" else read_safetensors(path, dtype)
        twice = state.keys() & part.keys()
        if twice:
            raise ModelFileError(f"{path.name} in {folder.name} holds {_some(twice)}, which another shard holds too.")
        state.update(part)
    return state


_OLD_ATTENTION = re.compile(r"(.*\battentions\.\d+)\.(query|key|value|proj_attn)\.(weight|bias)")
_NEW_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def modern_names(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with the attention names of the first diffusers (`query`, `proj_attn`) made today's."""
    renamed = {}
    for key, tensor in state.items():
        old = _OLD_ATTENTION.fullmatch(key)
        renamed[f"{old[1]}.{_NEW_ATTENTION[old[2]]}.{old[3]}" if old else key] = tensor
    return renamed


def _some(keys: Iterable[str]) -> str:
    keys = sorted(keys)
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return ", ".join(keys[:_SHOWN_KEYS]) + more


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Put a state dict into a module built on the `meta` device, strictly.

    `position_ids`, which some transformers versions store and others make, may be absent or extra.
    Raises ModelFileError with the names of missing, unexpected or misshapen keys.
    """

    wanted = module.state_dict()
    optional = {k for k in {*wanted, *state} if k.endswith("position_ids")}
    missing, extra = set(wanted) - set(state) - optional, set(state) - set(wanted) - optional
    if missing or extra:
        parts = [f"missing {_some(missing)}"] if missing else []
        parts += [f"unexpected {_some(extra)}"] if extra else []
        raise ModelFileError(f"The weights of {where} do not fit its config: {'; '.join(parts)}.")
    misshapen = [k for k in wanted if k in state and wanted[k].shape != state[k].shape]
    if misshapen:
        key = misshapen[0]
        raise ModelFileError(
            f"The weights of {where} do not fit its config: {key} has shape {tuple(state[key].shape)}, "
            f"the config says {tuple(wanted[key].shape)}."
        )
    odd = [k for k in wanted if k in state and wanted[k].is_floating_point() != state[k].is_floating_point()]
    if odd:
        raise ModelFileError(
            f"The weights of {where} do not fit its config: {odd[0]} is stored as {state[odd[0]].dtype}."
        )
    bad = [k for k, v in state.items() if v.is_floating_point() and not all_finite(v)]
    if bad:
        kind = str(state[bad[0]].dtype).removeprefix("torch.")
        raise ModelFileError(
            f"The weights of {where} hold NaN or infinity in {_some(bad)} (as {kind}). If float32 is no better, "
            "download the model again."
        )
    kept = {k: v for k, v in state.items() if k in wanted and k not in optional}
    module.load_state_dict(kept, strict=False, assign=True)
    _make_position_ids(module)
    left = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    if left:
        raise ModelFileError(f"The weights of {where} leave {_some(left)} without a value.")


def all_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite. The extremes tell, 16 to 40 times as fast as a mask does."""
    import torch

    wide = tensor if tensor.dtype.itemsize > 1 else tensor.float()  # 8-bit floats have no minimum
    return wide.numel() == 0 or all(bool(torch.isfinite(end)) for end in torch.aminmax(wide))


def _make_position_ids(module: nn.Module) -> None:
    import torch

    for part in module.modules():
        ids = getattr(part, "position_ids", None)
        if isinstance(ids, torch.Tensor) and ids.is_meta:
            part.position_ids = torch.arange(ids.shape[-1]).expand(ids.shape).clone()
