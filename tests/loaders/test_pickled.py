"""Pickled weights of both of PyTorch's formats, and those made to fill the memory or to keep it busy for ever."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from tastemaker.loaders import ModelFileError, load_diffusion_model
from tastemaker.loaders.formats.pickled import read_pickled
from tests.loaders.test_hostile import Payload, as_bin, ddpm, with_program  # noqa: F401
from tests.promptly import promptly


def test_many_names_for_one_tensor_are_refused(tmp_path: Path) -> None:
    one = torch.ones(2**18)
    torch.save({str(i): one for i in range(400)}, tmp_path / "model.bin")
    assert (tmp_path / "model.bin").stat().st_size < 2 * one.nbytes
    with pytest.raises(ModelFileError, match="together much larger than the file"):
        read_pickled(tmp_path / "model.bin")


def test_a_weight_of_two_names_is_read(tmp_path: Path) -> None:
    tied = torch.ones(2**14)
    torch.save({"encoder": tied, "decoder": tied, "more": torch.ones(2**8)}, tmp_path / "model.bin")
    assert read_pickled(tmp_path / "model.bin").keys() == {"encoder", "decoder", "more"}


def test_parts_of_one_storage_are_read(tmp_path: Path) -> None:
    whole = torch.arange(2000.0)
    torch.save({"a": whole[:1000], "b": torch.nn.Parameter(whole[1000:])}, tmp_path / "model.bin")
    state = read_pickled(tmp_path / "model.bin")
    assert torch.equal(torch.cat([state["a"], state["b"]]), whole)


CALLS = {
    "bytearray": b"c__builtin__\nbytearray\nJ\x00\x00\x00\x10\x85R",  # 256 MiB of zeros
    "encode": b"c_codecs\nencode\nX\x01\x00\x00\x00aX\x06\x00\x00\x00latin1\x86R",
    "a name put together": b"X\x0b\x00\x00\x00collectionsX\x0b\x00\x00\x00OrderedDict\x93)R",
    "a class by the old opcode": b"(icollections\nOrderedDict\n",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_what_a_state_dict_does_not_name_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: bytes
) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "good.bin")
    program = b"\x80\x02}X\x01\x00\x00\x00a" + call + b"s."
    with_program(tmp_path / "good.bin", tmp_path / "model.bin", program)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ModelFileError, match="holds more than tensors"):
        read_pickled(tmp_path / "model.bin")


def test_no_memory_to_read_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "model.bin")

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ModelFileError, match="more memory than there is"):
        read_pickled(tmp_path / "model.bin")


# --- a pickle that keeps its reader busy ------------------------------------------------------

# a tuple of itself twice, 60 times: hashing it takes 2**60 steps inside C, where nothing interrupts
DOUBLED = b"(K\x01K\x01tq\x00" + b"".join(b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(60))
FLOATS = b"X\x07\x00\x00\x00storagectorch\nFloatStorage\n"  # how a storage of floats begins
BUSY = {
    "as a key": b"}q\xff" + DOUBLED + b"K\x01s.",
    "as a value": b"}q\xffX\x01\x00\x00\x00a" + DOUBLED + b"s.",  # an error that shows it would not end
    "as a storage's name": b"}X\x01\x00\x00\x00a(" + FLOATS + DOUBLED + b"X\x03\x00\x00\x00cpuK\x01tQs.",
    "as a key of a call": b"ccollections\nOrderedDict\n](" + DOUBLED + b"K\x01e\x85a\x85R.",
    "as a size": b"ctorch\nSize\n" + DOUBLED + b"\x85R.",
    "lists in lists": b"]"
    + b"".join(b"q" + bytes([i]) + b"]h" + bytes([i]) + b"ah" + bytes([i]) + b"a" for i in range(60))
    + b".",
    "filled later": b"]q\x00]q\x01h\x00ah\x00(" + b"K\x01" * 9 + b"e.",
    "a key of 2**2000": b"}\x8a\xfb" + b"\xff" * 250 + b"\x00K\x01s.",
    "a float as a key": b"}G" + bytes(8) + b"K\x01s.",
}


def legacy(program: bytes, names: Any = (), numbers: bytes = b"") -> bytes:
    """A file of PyTorch's format before 1.6 with this program in it."""
    about = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(value, 2) for value in (0x1950A86A20F9469CFC6C, 1001, about)]
    return b"".join([*parts, program, pickle.dumps(list(names), 2), numbers])


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("program", BUSY.values(), ids=BUSY)
def test_a_pickle_that_would_never_end_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: bytes, old: bool
) -> None:
    if old:
        (tmp_path / "model.bin").write_bytes(legacy(b"\x80\x02" + program))
    else:
        torch.save({"a": torch.ones(2)}, tmp_path / "good.bin")
        with_program(tmp_path / "good.bin", tmp_path / "model.bin", b"\x80\x02" + program)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    words = "is not a state dict as PyTorch writes it|holds more than tensors"
    with promptly(2), pytest.raises(ModelFileError, match=words):
        read_pickled(tmp_path / "model.bin")


def test_a_program_under_two_spellings_of_its_name_is_refused(tmp_path: Path) -> None:
    """torch's reader of zips takes capitals for small letters: it might read the one that was not looked at."""
    torch.save({"a": torch.ones(2)}, tmp_path / "model.bin")
    with zipfile.ZipFile(tmp_path / "model.bin", "a") as archive:
        archive.writestr("model/DATA.PKL", b"\x80\x02cos\nsystem\n.")
    with pytest.raises(ModelFileError, match="two entries of one name"):
        read_pickled(tmp_path / "model.bin")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "an empty file"),
        (b"<!doctype html><html>" * 9, "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1786880927\n", "a Git LFS pointer"),
        (b"\x80\x04\x95" + bytes(99), "or is cut short"),
    ],
)
def test_what_a_download_left_in_place_of_weights_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "ImageReward.pt").write_bytes(data)
    with pytest.raises(ModelFileError, match=f"is not a PyTorch file.*{said}"):
        read_pickled(tmp_path / "ImageReward.pt")


def test_torchscript_is_named(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "ViT-L-14.pt"))
    with pytest.raises(ModelFileError, match="TorchScript"):
        read_pickled(tmp_path / "ViT-L-14.pt")


# --- the format before PyTorch 1.6 ------------------------------------------------------------


def states() -> dict[str, torch.Tensor]:
    """What weights are made of: parts of one storage, a tied one, turned, empty, of every number format."""
    whole = torch.arange(40.0)
    tied = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    kinds = (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool)
    return {
        **{"first": whole[:15], "second": torch.nn.Parameter(whole[15:].view(5, 5)), "turned": tied.T},
        **{"tied": tied, "empty": torch.empty(0), "scalar": torch.tensor(3)},
        **{str(kind): torch.tensor([[0, 1], [1, 0]]).to(kind) for kind in kinds},
    }


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("inside", [None, "state_dict"])
def test_both_formats_give_the_same_tensors(tmp_path: Path, old: bool, inside: str | None) -> None:
    wanted = states()
    module = torch.nn.BatchNorm1d(3)
    state = module.state_dict()  # an OrderedDict with `_metadata`
    state.update(wanted)
    optimizer = {"state": {0: {"step": 3, "average": torch.ones(2)}}, "groups": [{"lr": 0.1, "betas": (0.9, 0.999)}]}
    whole = state if inside is None else {"epoch": 1, "name": None, inside: state, "optimizer": optimizer}
    torch.save(whole, tmp_path / "model.pth", _use_new_zipfile_serialization=not old)
    found = read_pickled(tmp_path / "model.pth", inside=inside)
    assert found.keys() == wanted.keys() | module.state_dict().keys()
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value)
    half = read_pickled(tmp_path / "model.pth", torch.float16, inside=inside)
    assert half["tied"].dtype == torch.float16
    assert half["scalar"].dtype == torch.int64


def test_a_file_that_python_2_wrote_is_read(tmp_path: Path) -> None:
    """Its texts are bytes, and its OrderedDict is called with a list of pairs."""
    storage = b"(U\x07storagectorch\nFloatStorage\nU\x0212U\x06cuda:0K\x04NtQ"
    tensor = b"ctorch._utils\n_rebuild_tensor\n(" + storage + b"K\x01K\x03\x85K\x01\x85tR"
    program = b"\x80\x02ccollections\nOrderedDict\n](](U\x01a" + tensor + b"ee\x85R."
    numbers = struct.pack("<q4f", 4, 1, 2, 3, 4)
    names = b"\x80\x02]U\x0212a."
    whole = legacy(program)[: -len(pickle.dumps([], 2))] + names + numbers
    (tmp_path / "model.pth").write_bytes(whole)
    assert read_pickled(tmp_path / "model.pth")["a"].tolist() == [2.0, 3.0, 4.0]


def test_an_old_ddpm_loads(ddpm: Path) -> None:  # noqa: F811
    path, state = as_bin(ddpm)
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=False)
    assert torch.equal(load_diffusion_model(ddpm).unet.conv_in.weight, state["conv_in.weight"].float())


def _changed(old: bytes, new: bytes, at: int = 0) -> Any:
    def change(data: bytes) -> bytes:
        places = [i for i in range(len(data)) if data.startswith(old, i)]
        assert places
        return data[: places[at]] + new + data[places[at] + len(old) :]

    return change


COUNT = b"M\xd2\x04"  # 1234, as the program says it
LEGACY: dict[str, tuple[Any, str]] = {
    "a huge storage": (_changed(COUNT, b"\x8a\x06" + (2**40).to_bytes(6, "little")), "other numbers"),
    "a storage below nothing": (_changed(COUNT, b"J" + struct.pack("<i", -1234)), "no storage"),
    "a longer storage in the program": (_changed(COUNT, b"M\xd3\x04"), "other numbers"),
    "a longer storage in the file": (_changed(struct.pack("<q", 1234), struct.pack("<q", 1235)), "other numbers"),
    "a shorter storage in the file": (_changed(struct.pack("<q", 1234), struct.pack("<q", 1)), "other numbers"),
    "a larger tensor": (_changed(COUNT, b"M\xd3\x04", 1), "larger than what is stored"),
    "a huge tensor": (_changed(COUNT, b"\x8a\x06" + (2**40).to_bytes(6, "little"), 1), "larger than what is stored"),
    "a tensor of size -1": (_changed(COUNT, b"J" + struct.pack("<i", -1234), 1), "has no shape"),
    "a tensor from its end on": (_changed(b"K\x00" + COUNT, b"K\x01" + COUNT), "larger than what is stored"),
    "doubles in place of floats": (_changed(b"FloatStorage", b"DoubleStorage"), "cut short"),
    "a storage that is called": (_changed(b"_rebuild_tensor_v2", b"_rebuild_parameter"), "more than tensors"),
    "another protocol": (_changed(b"\x80\x02M\xe9\x03.", b"\x80\x02M\xea\x03."), "not a PyTorch file"),
    "a web page": (lambda data: b"<html>" + data, "not a PyTorch file"),
}


@pytest.mark.parametrize(("change", "said"), LEGACY.values(), ids=LEGACY)
def test_a_legacy_file_that_lies_is_refused(tmp_path: Path, change: Any, said: str) -> None:
    torch.save({"a": torch.ones(1234)}, tmp_path / "model.bin", _use_new_zipfile_serialization=False)
    data = change((tmp_path / "model.bin").read_bytes())
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(ModelFileError, match=said):
        read_pickled(tmp_path / "model.bin")


def test_room_is_made_for_nothing_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"a": torch.ones(1234)}, tmp_path / "model.bin", _use_new_zipfile_serialization=False)
    change = _changed(COUNT, b"\x8a\x06" + (2**40).to_bytes(6, "little"))
    data = change((tmp_path / "model.bin").read_bytes())
    data = _changed(struct.pack("<q", 1234), struct.pack("<q", 2**40))(data)
    (tmp_path / "model.bin").write_bytes(data)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(ModelFileError, match="cut short"):
        read_pickled(tmp_path / "model.bin")


def test_a_legacy_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(9), "b": torch.ones(3)}, tmp_path / "model.bin", _use_new_zipfile_serialization=False)
    data = (tmp_path / "model.bin").read_bytes()
    for keep in range(len(data)):
        (tmp_path / "model.bin").write_bytes(data[:keep])
        with pytest.raises(ModelFileError, match="cut short|its pickle is broken|an empty file"):
            read_pickled(tmp_path / "model.bin")


@pytest.mark.parametrize("names", [[], ["0", "0"], ["0", "1"], [0], [("0",)], "0"], ids=str)
def test_the_list_of_storages_is_that_of_the_tensors(tmp_path: Path, names: Any) -> None:
    program = (
        b"\x80\x02}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
    )
    program += b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01NtQK\x00K\x01\x85K\x01\x85tRs."
    numbers = struct.pack("<qf", 1, 7.0)
    (tmp_path / "model.bin").write_bytes(legacy(program, ["0"], numbers))
    assert read_pickled(tmp_path / "model.bin")["a"].tolist() == [7.0]
    whole = legacy(program)[: -len(pickle.dumps([], 2))] + pickle.dumps(names, 2) + numbers * 2
    (tmp_path / "model.bin").write_bytes(whole)
    if names != "0":
        with pytest.raises(ModelFileError, match="the storages it lists"):
            read_pickled(tmp_path / "model.bin")
    else:
        with pytest.raises(ModelFileError, match="a text stands where"):
            read_pickled(tmp_path / "model.bin")


@pytest.mark.parametrize("where", ["system info", "state", "names", "a view", "a module"])
def test_a_legacy_program_runs_nothing(canary: Path, tmp_path: Path, where: str) -> None:
    bad = pickle.dumps(Payload(canary), 2)
    about, good = pickle.dumps({}, 2), pickle.dumps({}, 2)
    start = legacy(b"")[:21]
    asked = b"\x80\x02}X\x01\x00\x00\x00a(" + FLOATS + b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x01"
    parts = {
        "system info": [bad, good, pickle.dumps([], 2)],
        "state": [about, bad, pickle.dumps([], 2)],
        "names": [about, good, bad],
        "a view": [
            about,
            asked + b"X\x01\x00\x00\x001K\x00K\x01\x87tQs.",
            pickle.dumps(["0"], 2),
            struct.pack("<qf", 1, 7),
        ],
        "a module": [about, asked.replace(b"storage", b"module\x00", 1) + b"NtQs.", pickle.dumps([], 2)],
    }[where]
    (tmp_path / "model.bin").write_bytes(start + b"".join(parts))
    with pytest.raises(ModelFileError, match="may run a program|no storage"):
        read_pickled(tmp_path / "model.bin")


@pytest.mark.parametrize("disguised", [False, True])
def test_a_tar_is_refused(canary: Path, tmp_path: Path, disguised: bool) -> None:
    """The format before 2017, whose reader ran what it held; also as the name of a tar's first file."""
    pickled = pickle.dumps(Payload(canary), 2)
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:", format=tarfile.USTAR_FORMAT) as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            entry = tarfile.TarInfo(name)
            entry.size = len(pickled)
            archive.addfile(entry, io.BytesIO(pickled))
    data = made.getvalue()
    if disguised:  # magic, version, and a text that hides the rest of the tar's header
        head = legacy(b"")[:21] + b"\x80\x02X\xff\xff\x00\x00"
        block = bytearray(head + data[len(head) : 512])
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        data = bytes(block) + data[512:]
        assert tarfile.is_tarfile(io.BytesIO(data))
    (tmp_path / "model.bin").write_bytes(data)
    with pytest.raises(ModelFileError, match="is not a state dict as PyTorch writes it" if disguised else "is a tar"):
        read_pickled(tmp_path / "model.bin")


def test_no_more_of_a_large_legacy_file_is_read_than_a_program_has(tmp_path: Path) -> None:
    """Sparse: a text of four gigabytes, in a file of five that takes no room on the disk."""
    path = tmp_path / "model.bin"
    path.write_bytes(legacy(b"\x80\x02}X\xff\xff\xff\xffa"))
    os.truncate(path, 5 * 2**30)
    with pytest.raises(ModelFileError, match="its pickle is broken"):
        read_pickled(path)


# --- which torch may read them ----------------------------------------------------------------


@pytest.mark.parametrize("old", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("version", "fate"),
    [
        *[(v, "refused") for v in ("1.13.1+cu117", "2.0.0", "2.5.1", "2.5.1+cu124")],
        *[(v, "warned") for v in ("2.6.0", "2.9.1+cpu")],
        *[(v, "silent") for v in ("2.10.0", "2.13.0+cpu", "3.0.0a0+git1234", "of my own")],
    ],
)
def test_an_old_torch_reads_no_pickle_or_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    version: str,
    fate: str,
    old: bool,
) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "model.bin", _use_new_zipfile_serialization=not old)
    monkeypatch.setattr(torch, "__version__", version)
    if fate == "refused":
        monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was read"))
        with pytest.raises(ModelFileError, match=r"CVE-2025-32434.*Update torch to 2\.6.*convert"):
            read_pickled(tmp_path / "model.bin")
    else:
        assert read_pickled(tmp_path / "model.bin")["a"].tolist() == [1, 1]
        assert ("CVE-2026-24747" in caplog.text) == (fate == "warned")


def test_safetensors_need_no_new_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    from tastemaker.loaders.formats.component import read_weights

    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    monkeypatch.setattr(torch, "__version__", "2.1.0")
    assert read_weights(tmp_path / "model.safetensors")["a"].tolist() == [1, 1]
