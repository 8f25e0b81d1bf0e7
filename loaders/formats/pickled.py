"""The few official files that exist only as pickles: old DDPMs' `.bin`, and rewards' `.pt` and `.pth`.

A pickle is a program. It is read by torch's own reader, `weights_only`, which knows how to make tensors
and runs nothing else; a file that asks for more is refused, never read another way.
"""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import ModelFileError
from ...core.files import write_atomic
from .limits import MAX_COMPONENT_BYTES, MAX_PROGRAM_BYTES, MAX_PROGRAM_DEPTH
from .weights import DtypeOf, dtype_of, own_copy

if TYPE_CHECKING:
    import torch

# All that a state dict's program names. `weights_only` knows more, and with some of it (`bytearray`, `encode`) a few
# bytes make as many gigabytes as they like.
_STORAGES = ("BFloat16", "Bool", "Byte", "Char", "Double", "Float", "Half", "Int", "Long", "Short")
_GLOBALS = {
    *("collections OrderedDict", "torch Size"),
    *(f"torch._utils _rebuild_{kind}" for kind in ("tensor", "tensor_v2", "parameter")),
    *(f"torch {kind}Storage" for kind in _STORAGES),
}
_MOST_TIED = 2  # weights have two names at most: BLIP's pretraining keeps its text encoder under the decoder's too


def read_pickled(path: Path, dtype: DtypeOf = None, *, inside: str | None = None) -> dict[str, torch.Tensor]:
    """Read the state dict of a `.bin` file, floating tensors as `dtype` (None: as they are stored).

    `inside` names the entry that holds it in a file of a training run ("state_dict", "model"); what else
    such a file holds is not used. Only the zip format that torch writes since 1.6 is read; its tensors are
    mapped and copied one at a time.
    Raises ModelFileError naming what the file is.
    """
    import torch

    where = f"{path.name} in {path.parent.name}"
    _check_archive(path, where)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as e:
        raise _more_than_tensors(where) from e
    except MemoryError as e:
        raise ModelFileError(f"{where} asks for more memory than there is. Get the model's safetensors file.") from e
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, EOFError, AttributeError) as e:
        raise ModelFileError(f"{where} is damaged ({str(e)[:200]}). Download it again.") from e
    if inside is not None and isinstance(state, dict):
        if inside not in state:
            raise ModelFileError(f"{where} has no entry {inside!r}, which holds the weights of such files.")
        state = state[inside]
    _check_state(state, where, path.stat().st_size)
    return {key: own_copy(tensor.detach(), dtype_of(key, dtype)) for key, tensor in state.items()}


def _check_archive(path: Path, where: str) -> None:
    """Raises ModelFileError unless a file is a torch archive whose program is like a state dict's."""
    try:
        size = path.stat().st_size
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            programs = [entry for entry in entries if entry.filename.endswith("data.pkl")]
            good = len(programs) == 1 and programs[0].file_size <= MAX_PROGRAM_BYTES and size <= MAX_COMPONENT_BYTES
            # torch stores without compressing: what inflates is no state dict
            if not good or any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ModelFileError(f"{where} is not a state dict as PyTorch writes it.")
            program = archive.read(programs[0])
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as e:
        if isinstance(e, ModelFileError):
            raise
        raise ModelFileError(f"{where} is not a PyTorch file, or is cut short. Download it again.") from e
    depth, names = _survey(program)
    if depth > MAX_PROGRAM_DEPTH:
        raise ModelFileError(f"{where} is not a state dict as PyTorch writes it: its values are nested too deeply.")
    if not names <= _GLOBALS:
        raise _more_than_tensors(where)


def _more_than_tensors(where: str) -> ModelFileError:
    return ModelFileError(
        f"{where} is a pickle that holds more than tensors: it may run a program when it is opened, and is "
        "refused. Get the model's safetensors file."
    )


def _survey(program: bytes) -> tuple[int, set[str]]:
    """How deeply a pickle program nests values, and what it names, found without running it.

    The depth is endless for a broken program. The reader hashes keys by recursion in C: a tuple nested a million
    times ends the whole process. Names are "module name"; one that the program would put together itself is not
    followed and stands there as its opcode.
    """
    names: set[str] = set()
    stack: list[int] = []
    marks: list[int] = []
    memo: dict[int, int] = {}
    deepest = 0
    try:
        for opcode, argument, _ in pickletools.genops(program):
            if opcode.name == "GLOBAL":
                names.add(argument)
            elif opcode.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
                names.add(opcode.name)
            if opcode.name == "MARK":
                marks.append(len(stack))
            elif "GET" in opcode.name:
                stack.append(memo[argument])
            elif "PUT" in opcode.name:
                memo[argument] = stack[-1]
            elif opcode.name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
            else:
                takes = opcode.stack_before
                plain = takes.index(pickletools.markobject) if pickletools.markobject in takes else len(takes)
                first = (marks.pop() if plain < len(takes) else len(stack)) - plain
                if first < 0:
                    raise ValueError("takes more than there is")
                taken = stack[first:]
                del stack[first:]
                depth = max(taken) + 1 if taken else 0
                stack += [depth] * len(opcode.stack_after)
                deepest = max(deepest, depth)
    except (ValueError, KeyError, IndexError, UnicodeDecodeError):
        return MAX_PROGRAM_DEPTH + 1, names
    return deepest, names


def _check_state(state: Any, where: str, size: int) -> None:
    """Raises ModelFileError unless this is a dict of names to plain tensors that a file of `size` bytes can hold."""
    import torch

    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ModelFileError(f"{where} is not a state dict (names and tensors) but a {type(state).__name__}.")
    total = 0
    for key, value in state.items():
        plain = type(value) in (torch.Tensor, torch.nn.Parameter) and value.layout == torch.strided
        if not plain or value.device.type != "cpu" or value.is_quantized:
            raise ModelFileError(f"{where} holds {key!r}, which is not a plain tensor.")
        # a tensor may repeat one stored number without end, and any number of them may share it
        total += value.numel() * value.element_size()
        if total > _MOST_TIED * size:
            raise ModelFileError(
                f"{where} holds tensors that are together much larger than the file, from {key!r} of shape "
                f"{tuple(value.shape)} on."
            )


def bin_to_safetensors(path: Path) -> Path:
    """Write the tensors of a `.bin` file into a `.safetensors` file beside it, and return that file.

    The `.bin` stays. Raises ModelFileError for a file that cannot be read, OSError when writing fails.
    """
    from safetensors.torch import save

    target = path.with_suffix(".safetensors")
    if target.exists():
        raise ModelFileError(f"{target.name} is already there in {path.parent.name}. Remove it to convert again.")
    write_atomic(target, save(read_pickled(path), metadata={"format": "pt"}))
    return target
