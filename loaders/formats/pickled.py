"""The few official files that exist only as pickles: old DDPMs' `.bin`, and rewards' `.pt` and `.pth`.

A pickle is a program. It is walked first without running it (`pickle_survey.py`), then read by torch's own reader,
`weights_only`, which knows how to make tensors and runs nothing else; a file that asks for more is refused, never
read another way. There are two formats: the zip archive that torch writes since 1.6, and before it a row of pickles
with the numbers behind them (`torch/serialization.py`, `_legacy_save`).
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ...core.errors import ModelFileError
from .header import describe_file
from .limits import MAX_COMPONENT_BYTES, MAX_PROGRAM_BYTES
from .pickle_survey import ForeignCallError, SurveyError, survey
from .tensors import DtypeOf, dtype_of, own_copy

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

# How a file of the old format begins: the pickles of torch's magic number and of the format's, 1001.
_LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + bytes.fromhex("80024de9032e")
_MOST_TIED = 2  # weights have two names at most: BLIP's pretraining keeps its text encoder under the decoder's too
_SAFE_TORCH = (2, 6)  # before it, weights_only runs what it should not: CVE-2025-32434
_GOOD_TORCH = (2, 10)  # before it, a hostile file may harm memory: CVE-2026-24747


def read_pickled(path: Path, dtype: DtypeOf = None, *, inside: str | None = None) -> dict[str, torch.Tensor]:
    """Read the state dict of a `.bin`, `.pt` or `.pth` file, floating tensors as `dtype` (None: as they are stored).

    `inside` names the entry that holds it in a file of a training run ("state_dict", "model"); what else
    such a file holds is not used. The tensors of a zip are mapped and copied one at a time; a file of the old
    format is read whole first.
    Raises ModelFileError naming what the file is, and for any pickle where torch is older than 2.6.
    """
    import torch

    where = f"{path.name} in {path.parent.name}"
    check_torch(where)
    zipped = _check_file(path, where)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as e:
        raise _more_than_tensors(where) from e
    except MemoryError as e:
        raise ModelFileError(f"{where} asks for more memory than there is. Get the model's safetensors file.") from e
    except (OSError, RuntimeError, ValueError, TypeError, LookupError, EOFError, AttributeError, AssertionError) as e:
        raise ModelFileError(f"{where} is damaged ({str(e)[:200]}). Download it again.") from e
    if inside is not None and isinstance(state, dict):
        if inside not in state:
            raise ModelFileError(f"{where} has no entry {inside!r}, which holds the weights of such files.")
        state = state[inside]
    _check_state(state, where, path.stat().st_size)
    # one at a time leaves the old dict as its copy is made: no more is held than needed
    return {key: own_copy(state.pop(key).detach(), dtype_of(key, dtype)) for key in list(state)}


def check_torch(where: str) -> None:
    """Raise ModelFileError where the installed torch is not safe to read a pickle with; warn where it is old."""
    import torch

    found = re.match(r"(\d+)\.(\d+)", torch.__version__)
    version = tuple(int(part) for part in found.groups()) if found else _GOOD_TORCH
    if version < _SAFE_TORCH:
        raise ModelFileError(
            f"{where} is a pickle, and with torch {torch.__version__} a hostile one can run a program when it is "
            "opened (CVE-2025-32434). Update torch to 2.6 or newer, or use a safetensors file of the same weights: on "
            "a machine with a newer torch, python -m tastemaker.loaders.convert makes one."
        )
    if version < _GOOD_TORCH:
        log.warning(
            "%s is a pickle; torch %s reads those with a known hole (CVE-2026-24747), which 2.10 closes. Open only "
            "files from a publisher you trust, or safetensors.",
            *(where, torch.__version__),
        )


def _check_file(path: Path, where: str) -> bool:
    """Raise ModelFileError unless a file holds what torch writes of a state dict; return whether it is a zip."""
    if not path.is_file():  # a pipe would never end
        raise ModelFileError(f"There is no file {path.name} in {path.parent.name}.")
    try:
        with path.open("rb") as file:
            head, size = file.read(512), os.fstat(file.fileno()).st_size
            zipped = head.startswith(b"PK\x03\x04")
            if size > MAX_COMPONENT_BYTES:
                raise SurveyError(f"it has {size:,} bytes")
            if zipped:
                _check_archive(path)
            elif head.startswith(_LEGACY):
                _check_legacy(file, size)
            elif head[257:262] == b"ustar":
                raise SurveyError("it is a tar archive, as PyTorch wrote before 2017. Get the model's safetensors file")
            else:
                raise zipfile.BadZipFile
            return zipped
    except ForeignCallError as e:
        raise _more_than_tensors(where) from e
    except SurveyError as e:
        raise ModelFileError(f"{where} is not a state dict as PyTorch writes it: {e}.") from e
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as e:
        kind = describe_file(path)
        if kind.startswith(("an empty file", "a web page", "a Git LFS pointer")):
            raise ModelFileError(f"{where} is not a PyTorch file but {kind}.") from e
        raise ModelFileError(f"{where} is not a PyTorch file, or is cut short. Download it again.") from e


def _more_than_tensors(where: str) -> ModelFileError:
    return ModelFileError(
        f"{where} is a pickle that holds more than tensors: it may run a program when it is opened, and is "
        "refused. Get the model's safetensors file."
    )


def _check_archive(path: Path) -> None:
    """Raise SurveyError unless a zip holds one program, and storages as large as the program says."""
    with zipfile.ZipFile(path) as archive:
        # torch's reader of zips takes capitals for small letters, and of two entries it takes one
        entries = {entry.filename.casefold(): entry for entry in archive.infolist()}
        programs = [name for name in entries if name.endswith("data.pkl")]
        if len(programs) != 1 or len(entries) != len(archive.infolist()):
            raise SurveyError(f"it holds {len(programs)} programs, or two entries of one name")
        folder = programs[0].removesuffix("data.pkl")
        if f"{folder}constants.pkl" in entries or any(name.startswith(f"{folder}code/") for name in entries):
            raise SurveyError("it is a TorchScript program, which would run when it is opened")
        if entries[programs[0]].file_size > MAX_PROGRAM_BYTES:
            raise SurveyError("its pickle is larger than that of any model")
        # torch stores without compressing: what inflates is no state dict
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise SurveyError("it is compressed")
        found = survey(io.BytesIO(archive.read(entries[programs[0]])))
    for name, (count, width) in found.storages.items():
        entry = entries.get(f"{folder}data/{name}".casefold())
        if entry is None or entry.file_size != count * width:
            raise SurveyError("a tensor in it has other bytes than its program says")


def _check_legacy(file: BinaryIO, size: int) -> None:
    """Raise SurveyError unless a file of the old format holds the storages that its program asks for.

    Behind the two numbers it begins with are three pickles: about the machine, the state dict, and the names of the
    storages; then of each storage how many numbers it has, and these. torch makes room for what the program claims
    before it looks.
    """
    file.seek(0)
    programs = io.BytesIO(file.read(len(_LEGACY) + MAX_PROGRAM_BYTES))  # more is never read
    programs.seek(len(_LEGACY))
    about, state, names = survey(programs), survey(programs), survey(programs)
    if about.storages or names.storages or names.result.kind != "list":
        raise SurveyError("its pickles are in another order")
    listed = [name.content for name in names.result.content if name.kind == "text"]
    if len(listed) != len(names.result.content) or sorted(listed) != sorted(state.storages):
        raise SurveyError("the storages it lists are not those of its tensors")
    _check_numbers(file, programs.tell(), size, [state.storages[name] for name in listed])


def _check_numbers(file: BinaryIO, start: int, size: int, storages: list[tuple[int, int]]) -> None:
    """Raise SurveyError unless the storages stand in a file from `start` on, each behind its count."""
    for count, width in storages:
        file.seek(start)
        if file.read(8) != struct.pack("<q", count):
            raise SurveyError("it is cut short, or a tensor in it has other numbers than its program says")
        start += 8 + count * width
    if start > size:
        raise SurveyError("it is cut short. Download it again")


def _check_state(state: Any, where: str, size: int) -> None:
    """Raise ModelFileError unless this is a dict of names to plain tensors that a file of `size` bytes can hold."""
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
