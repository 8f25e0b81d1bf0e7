"""Weight files: finding them by name, reading them, filling modules with them strictly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import ModelFileError
from ...core.files import open_regular, parse_json
from ...core.texts import some
from .header import check_safetensors
from .limits import MAX_JSON_BYTES
from .tensors import DtypeOf, all_finite, dtype_of, own_copy

if TYPE_CHECKING:
    import torch
    from torch import nn

_LONGEST_NAME = 200


def read_json(path: Path, *, endless: bool = False) -> dict[str, Any]:
    """Read a JSON object of at most 4 MiB, with no key twice and no NaN; infinity only where `endless`.

    Raises ModelFileError.
    """
    where = f"{path.name} in {path.parent.name}"
    try:
        if not path.is_file() and path.exists():
            raise ModelFileError(f"{where} is not a file.")  # a pipe would never end
        with open_regular(path) as file:
            data = file.read(MAX_JSON_BYTES + 1)
        if len(data) > MAX_JSON_BYTES:
            raise ModelFileError(f"{where} is larger than 4 MiB: no model config is.")
        content = parse_json(data, infinite=endless)
    except FileNotFoundError as e:
        raise ModelFileError(f"{path.parent.name} has no {path.name}. Download the model again.") from e
    except ModelFileError:
        raise
    except (OSError, ValueError, MemoryError) as e:
        reason = (e.strerror if isinstance(e, OSError) else str(e)) or type(e).__name__  # not the whole path
        raise ModelFileError(f"{where} cannot be read as JSON: {reason[:200]}.") from e
    if not isinstance(content, dict):
        raise ModelFileError(f"{where} is not a JSON object.")
    return content


def read_safetensors(path: Path, dtype: DtypeOf = None) -> dict[str, torch.Tensor]:
    """Read one file into memory of its own, floating tensors as `dtype` (None: as they are stored).

    `dtype` may be a function of a tensor's name.

    The tensors are copied: mapped ones are unaligned, which changes results in the last bits on a
    CPU, and change when somebody writes the file. One is copied at a time, so that no more is held than
    the result. Raises ModelFileError naming what the file is.
    """
    from safetensors import SafetensorError, safe_open

    check_safetensors(path, f"{path.name} in {path.parent.name}")
    try:
        with safe_open(path, framework="pt") as file:
            return {k: own_copy(file.get_tensor(k), dtype_of(k, dtype)) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, NotImplementedError) as e:
        # what an unknown number format or an impossible shape raises differs from version to version
        reason = str(e)[:200]
        raise ModelFileError(f"{path.name} in {path.parent.name} is damaged ({reason}). Download it again.") from e


def find_weights(folder: Path, stem: str, *, prefer_half: bool, pickles: bool = False) -> list[Path]:
    """Return the weight files of a component, read from the file names, sharded ones too.

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


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], *, where: str) -> None:
    """Put a state dict into a module built on the `meta` device, strictly.

    `position_ids`, which some transformers versions store and others make, may be absent or extra.
    Raises ModelFileError with the names of missing, unexpected or misshapen keys.
    """
    wanted = module.state_dict()
    optional = {k for k in {*wanted, *state} if k.endswith("position_ids")}
    missing, extra = set(wanted) - set(state) - optional, set(state) - set(wanted) - optional
    if missing or extra:
        parts = [f"missing {some(missing)}"] if missing else []
        parts += [f"unexpected {some(extra)}"] if extra else []
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
            f"The weights of {where} hold NaN or infinity in {some(bad)} (as {kind}). If float32 is no better, "
            "download the model again."
        )
    kept = {k: v for k, v in state.items() if k in wanted and k not in optional}
    module.load_state_dict(kept, strict=False, assign=True)
    _make_position_ids(module)
    left = [n for n, t in (*module.named_parameters(), *module.named_buffers()) if t.is_meta]
    if left:
        raise ModelFileError(f"The weights of {where} leave {some(left)} without a value.")


def _make_position_ids(module: nn.Module) -> None:
    import torch

    for part in module.modules():
        ids = getattr(part, "position_ids", None)
        if isinstance(ids, torch.Tensor) and ids.is_meta:
            part.position_ids = torch.arange(ids.shape[-1]).expand(ids.shape).clone()
