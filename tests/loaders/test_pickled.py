"""Old `.bin` files that would fill the memory: refused before anything is made in their size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tastemaker.loaders import ModelFileError
from tastemaker.loaders.formats.pickled import read_pickled
from tests.loaders.test_hostile import with_program


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
