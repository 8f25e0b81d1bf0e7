"""Files and folders made to harm: each is refused in words, and nothing of theirs ever runs.

The canary (`conftest.py`) is a file that exists only once foreign code has run: a module that writes it when
imported, pickles that write it when opened by a reader that runs them.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tastemaker.loaders import ModelFileError, asset_folder, load_diffusion_model
from tastemaker.loaders.formats.limits import MAX_COMPONENT_BYTES, MAX_HEADER_BYTES, check_sizes
from tastemaker.loaders.formats.pickled import read_pickled
from tastemaker.loaders.formats.weights import read_json, read_safetensors


@pytest.fixture
def sdxl(tmp_path: Path) -> Path:
    return Path(shutil.copytree(asset_folder("tiny-sdxl"), tmp_path / "my-sdxl"))


@pytest.fixture
def ddpm(tmp_path: Path) -> Path:
    return Path(shutil.copytree(asset_folder("tiny-ddpm"), tmp_path / "my-ddpm"))


class Payload:
    """Pickles into a call that writes the canary."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def test_the_canary_sings(tmp_path: Path) -> None:
    """An ordinary reader does run such a pickle, so its silence elsewhere means something."""
    marker = tmp_path / "ran"
    pickle.loads(pickle.dumps(Payload(marker))).close()
    assert marker.exists()


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def index(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "model_index.json", **changes)


def config(part: str, **changes: object) -> Callable[[Path], None]:
    name = "scheduler_config" if part == "scheduler" else "tokenizer_config" if "tokenizer" in part else "config"
    return lambda folder: edit(folder / part / f"{name}.json", **changes)


def text(place: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / place).write_text(content) and None


def vocabulary(**changes: object) -> Callable[[Path], None]:
    return lambda folder: edit(folder / "tokenizer" / "vocab.json", **changes)


EVIL_CODE = "import evil\n"
FOLDERS: list[tuple[str, Callable[[Path], None], str]] = [
    ("a class of os", index(unet=["os", "system"]), "names .*os"),
    ("a class of its own", index(unet=["evil", "Model"]), "names .*evil"),
    ("an unknown component", index(helper=["evil", "Model"]), "unknown component helper"),
    ("a pipeline of its own", index(_class_name=["evil", "Model"]), "is a .*evil"),
    ("a pipeline that is a dict", index(_class_name={"a": 1}), "is a "),
    ("custom_pipeline", index(custom_pipeline="evil/model"), "unknown setting custom_pipeline"),
    ("a component that is a dict", index(helper={"module": "evil"}), "unknown setting helper"),
    ("an index that is a list", text("model_index.json", "[]"), "not a JSON object"),
    ("auto_map in the UNet", config("unet", auto_map={"AutoModel": "evil.Model"}), "is for"),
    ("auto_map in the encoder", config("text_encoder", auto_map={"AutoModel": "evil.Model"}), "not a CLIP"),
    ("auto_map in the tokenizer", config("tokenizer", auto_map={"AutoTokenizer": ["evil.Model", None]}), "run code"),
    ("a UNet class of its own", config("unet", _class_name="evil.Model"), "is for 'evil.Model'"),
    ("an encoder of another type", config("text_encoder", model_type="evil"), "not a CLIP"),
    ("kernels from a hub", config("text_encoder", attn_implementation="evil/kernel"), "keys that no CLIP"),
    ("a quantizer", config("text_encoder_2", quantization_config={"quant_method": "evil"}), "keys that no CLIP"),
    ("an encoder's own loss", config("text_encoder", loss_type="evil"), "keys that no CLIP"),
    ("a quantizer in the UNet", config("unet", quantization_config={"quant_method": "evil"}), "does not know"),
    ("a scheduler of its own", config("scheduler", _class_name="evil.Model"), "scheduler 'evil.Model'"),
    ("a scheduler that is a list", config("scheduler", _class_name=["evil", "Model"]), "has the scheduler"),
    ("a tokenizer of its own", config("tokenizer", tokenizer_class="evil.Model"), "is for 'evil.Model'"),
    ("a hundred layers", config("text_encoder", num_hidden_layers=100), "num_hidden_layers is 100"),
    ("10**9 layers", config("text_encoder", num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    ("10**9 blocks", config("unet", layers_per_block=10**9), "layers_per_block is"),
    ("10**9 transformers", config("unet", transformer_layers_per_block=[1, 10**9]), "transformer_layers_per_block is"),
    ("10**12 channels", config("unet", block_out_channels=[64, 10**12]), "block_out_channels is"),
    ("a thousand levels", config("unet", block_out_channels=[64] * 1000), "1000 levels"),
    ("10**15 words", config("text_encoder", vocab_size=10**15), "vocab_size is"),
    ("10**12 steps", config("scheduler", num_train_timesteps=10**12), "num_train_timesteps is"),
    ("half a million betas", config("scheduler", trained_betas=[0.1] * 500_000), "trained_betas is a list"),
    ("negative channels", config("unet", block_out_channels=[-64, 128]), "does not describe a model"),
    ("channels that are words", config("unet", block_out_channels=["a", "b"]), "does not describe a model"),
    ("no channels", config("unet", block_out_channels=[]), "does not describe a model"),
    ("blocks that are numbers", config("unet", down_block_types=[1, 2]), "does not describe a model"),
    ("a block of its own", config("unet", mid_block_type="evil.Model"), "does not describe a model"),
    ("an activation of its own", config("text_encoder", hidden_act="evil.Model"), "does not describe a model"),
    ("no size", config("unet", sample_size=None), "sample_size"),
    ("a size of nothing", config("unet", sample_size=[0, 16]), "sample_size"),
    ("NaN", text("vae/config.json", '{"_class_name": "AutoencoderKL", "scaling_factor": NaN}'), "NaN is no number"),
    ("a number of 10,000 digits", text("vae/config.json", '{"a": 1' + "0" * 10_000 + "}"), "cannot be read as JSON"),
    ("a float beyond all", text("vae/config.json", '{"scaling_factor": 1e999}'), "scaling_factor is inf"),
    ("a key twice", text("unet/config.json", '{"sample_size": 16, "sample_size": 17}'), "stands there twice"),
    ("lists in lists", text("unet/config.json", '{"a": ' + "[" * 50 + "]" * 50 + "}"), "nested deeper"),
    ("100,000 lists in lists", text("unet/config.json", '{"a": ' + "[" * 100_000), "cannot be read as JSON"),
    ("five megabytes", text("unet/config.json", '{"a": "' + "x" * 5_000_000 + '"}'), "larger than 4 MiB"),
    ("code", text("evil.py", EVIL_CODE), "program code"),
    ("code in a component", text("unet/modeling.PY", EVIL_CODE), "program code"),
    ("compiled code", text("vae/evil.so", "x"), "program code"),
    ("an id beyond the embedding", vocabulary(evil=5000), "its text encoder has 657 rows"),
    ("a negative id", vocabulary(evil=-1), "the number -1"),
    ("an id that is text", vocabulary(evil="1"), "the number 1"),
    ("an id that is true", vocabulary(evil=True), "the number True"),
    ("an id twice", vocabulary(evil=3), "same number"),
    ("an unknown special token", config("tokenizer", bos_token="<evil>"), "not in its vocabulary"),
    ("a special token that is a list", config("tokenizer", pad_token=["x"]), "is no text"),
    ("a length of -1", config("tokenizer", model_max_length=-1), "model_max_length"),
    ("a length that is text", config("tokenizer_2", model_max_length="77"), "model_max_length"),
    ("merges that are none", text("tokenizer/merges.txt", "#version: 0.2\na b c\n"), "no pair"),
    (
        "an index elsewhere",
        text("unet/diffusion_pytorch_model.safetensors.index.json", '{"weight_map": 3}'),
        "weight_map",
    ),
]


@pytest.mark.parametrize(("damage", "said"), [c[1:] for c in FOLDERS], ids=[c[0] for c in FOLDERS])
def test_a_hostile_folder_is_refused(canary: Path, sdxl: Path, damage: Callable[[Path], None], said: str) -> None:
    damage(sdxl)
    with pytest.raises(ModelFileError, match=said):
        load_diffusion_model(sdxl)


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "evil.bin", "..", "a\\..\\b.safetensors", ""])
def test_a_shard_index_cannot_lead_elsewhere(canary: Path, sdxl: Path, name: str) -> None:
    shutil.copy(sdxl / "vae" / "diffusion_pytorch_model.fp16.safetensors", sdxl.parent / "x.safetensors")
    (sdxl / "unet" / "diffusion_pytorch_model.fp16.safetensors").unlink()
    listed = {"weight_map": {"conv_in.weight": name}}
    (sdxl / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(ModelFileError, match="outside its folder|no file"):
        load_diffusion_model(sdxl)


def test_a_tensor_in_two_shards_is_refused(sdxl: Path) -> None:
    path = sdxl / "vae" / "diffusion_pytorch_model.fp16.safetensors"
    state = load_file(path)
    path.unlink()
    names = ["a.safetensors", "b.safetensors"]
    save_file(state, sdxl / "vae" / names[0])
    save_file({"encoder.conv_in.bias": state["encoder.conv_in.bias"]}, sdxl / "vae" / names[1])
    listed = {"weight_map": {"one": names[0], "two": names[1]}}
    (sdxl / "vae" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(ModelFileError, match=r"encoder\.conv_in\.bias, which another shard"):
        load_diffusion_model(sdxl)


# --- what lies in the folder ------------------------------------------------------------------


@pytest.mark.parametrize("what", ["vae/config.json", "vae", "unet/diffusion_pytorch_model.fp16.safetensors"])
def test_a_link_out_of_the_folder_is_refused(sdxl: Path, tmp_path: Path, what: str) -> None:
    (sdxl / what).rename(tmp_path / "elsewhere")
    (sdxl / what).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelFileError, match="leads out of it"):
        load_diffusion_model(sdxl)


def test_a_link_to_nothing_is_refused(sdxl: Path) -> None:
    (sdxl / "gone").symlink_to(sdxl / "nothing")
    with pytest.raises(ModelFileError, match="no plain file"):
        load_diffusion_model(sdxl)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["vae/config.json", "notes"])
def test_a_pipe_does_not_hang(ddpm: Path, sdxl: Path, name: str) -> None:
    (sdxl / name).unlink(missing_ok=True)
    os.mkfifo(sdxl / name)
    with pytest.raises(ModelFileError, match="no plain file"):
        load_diffusion_model(sdxl)
    with pytest.raises(ModelFileError, match="not a file"):
        read_json(sdxl / name)


def test_a_linked_folder_and_a_hub_snapshot_load(ddpm: Path, tmp_path: Path) -> None:
    """What people do have: a link to the whole folder, and the cache of huggingface_hub."""
    (tmp_path / "link").symlink_to(ddpm, target_is_directory=True)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abc"
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir(parents=True)
    for i, path in enumerate(p for p in ddpm.rglob("*") if p.is_file()):
        shutil.copy(path, blobs / str(i))
        link = snapshot / path.relative_to(ddpm)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / str(i), link.parent))
    one, two = load_diffusion_model(tmp_path / "link"), load_diffusion_model(snapshot)
    assert one.fingerprint == two.fingerprint


def test_too_many_files_are_refused_soon(sdxl: Path) -> None:
    for i in range(5000):
        (sdxl / f"{i}.txt").touch()
    with pytest.raises(ModelFileError, match="more than 200 files"):
        load_diffusion_model(sdxl)


def test_folders_without_end_are_refused(sdxl: Path) -> None:
    (sdxl / Path(*["d"] * 60)).mkdir(parents=True)
    with pytest.raises(ModelFileError, match="more folders"):
        load_diffusion_model(sdxl)


def test_what_downloads_and_git_leave_is_not_looked_into(canary: Path, ddpm: Path) -> None:
    for place in (".git/hooks", ".cache/huggingface"):
        (ddpm / place).mkdir(parents=True)
        (ddpm / place / "evil.py").write_text(EVIL_CODE)
    assert load_diffusion_model(ddpm).fingerprint == load_diffusion_model("tiny-ddpm").fingerprint


@pytest.mark.parametrize("version", ["99.0", "", ["evil", "Model"], {"a": 1}, None])
def test_a_claimed_version_changes_nothing(canary: Path, ddpm: Path, version: object) -> None:
    edit(ddpm / "model_index.json", _diffusers_version=version)
    edit(ddpm / "unet" / "config.json", _diffusers_version=version)
    model = load_diffusion_model(ddpm)
    assert torch.equal(model.unet.conv_in.weight, load_diffusion_model("tiny-ddpm").unet.conv_in.weight)


def test_an_impossible_version_number_is_refused(ddpm: Path) -> None:
    edit(ddpm / "unet" / "config.json", _diffusers_version=10**30)
    with pytest.raises(ModelFileError, match="_diffusers_version is 1000"):
        load_diffusion_model(ddpm)


# --- safetensors ------------------------------------------------------------------------------


def crafted(path: Path, header: bytes | dict, body: bytes = b"", length: int | None = None) -> Path:
    """A safetensors file with this header, whatever it says."""
    data = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(data) if length is None else length) + data + body)
    return path


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


HEADERS: list[tuple[str, bytes | dict, str]] = [
    ("not JSON", b"{" + b"x" * 40, "damaged"),
    ("a list", b'["a"]   ', "not a safetensors"),
    ("overlapping tensors", {"a": entry(), "b": entry(offsets=(4, 12))}, "damaged"),
    ("the same bytes twice", {"a": entry(), "b": entry()}, "damaged"),
    ("a hole", {"a": entry(), "b": entry(offsets=(12, 20))}, "damaged"),
    ("past the end", {"a": entry(shape=(1000,), offsets=(0, 4000))}, "damaged"),
    ("backwards", {"a": entry(offsets=(8, 0))}, "damaged"),
    ("negative offsets", {"a": entry(offsets=(-8, 0))}, "damaged"),
    ("a negative shape", {"a": entry(shape=(-2,))}, "damaged"),
    ("a shape of other size", {"a": entry(shape=(3,))}, "damaged"),
    ("an endless shape", {"a": entry(shape=(2**63, 2**63))}, "damaged"),
    ("a shape of words", {"a": entry(shape=("2",))}, "damaged"),
    ("an unknown dtype", {"a": entry(dtype="EVIL")}, "damaged"),
    ("a dtype that is a dict", {"a": entry(dtype={"evil": 1})}, "damaged"),
    ("metadata that is a list", {"__metadata__": ["evil"], "a": entry()}, "damaged"),
    ("lists in lists", b'{"a":' + b"[" * 100_000, "damaged"),
]


@pytest.mark.parametrize(("header", "said"), [h[1:] for h in HEADERS], ids=[h[0] for h in HEADERS])
def test_a_hostile_header_is_refused(tmp_path: Path, header: bytes | dict, said: str) -> None:
    path = crafted(tmp_path / "model.safetensors", header, body=b"\0" * 20)
    with pytest.raises(ModelFileError, match=said):
        read_safetensors(path)


def test_a_name_twice_is_refused_or_counts_once(tmp_path: Path) -> None:
    """Versions of the library differ; what they may not do is to give two tensors."""
    one = json.dumps(entry())
    path = crafted(tmp_path / "model.safetensors", f'{{"a": {one}, "a": {one}}}'.encode(), body=b"\0" * 8)
    try:
        names = set(read_safetensors(path))
    except ModelFileError:
        names = {"a"}
    assert names == {"a"}


def test_a_header_larger_than_any_model_has(tmp_path: Path) -> None:
    path = crafted(tmp_path / "model.safetensors", b"{" + b" " * (MAX_HEADER_BYTES + 10) + b"}")
    with pytest.raises(ModelFileError, match="which no model has"):
        read_safetensors(path)


def test_a_file_larger_than_any_model_is_not_read(tmp_path: Path) -> None:
    """Sparse: it says 64 GiB and takes no room on the disk."""
    count = MAX_COMPONENT_BYTES // 4
    path = crafted(tmp_path / "model.safetensors", {"a": entry(shape=(count,), offsets=(0, 4 * count))})
    os.truncate(path, path.stat().st_size + 4 * count)
    with pytest.raises(ModelFileError, match="no model known here"):
        read_safetensors(path)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_weights_that_are_no_real_numbers_are_refused(ddpm: Path, dtype: torch.dtype) -> None:
    path = ddpm / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    save_file(state | {"conv_in.bias": state["conv_in.bias"].to(dtype)}, path)
    with pytest.raises(ModelFileError, match=r"conv_in\.bias is stored as"):
        load_diffusion_model(ddpm)


def test_complex_weights_are_refused(ddpm: Path) -> None:
    path = ddpm / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    save_file(state | {"conv_in.bias": state["conv_in.bias"].to(torch.int64)}, path)
    path.write_bytes(path.read_bytes().replace(b'"I64"', b'"C64"', 1))  # old safetensors cannot write them
    with pytest.raises(ModelFileError, match=r"conv_in\.bias is stored as|damaged"):  # nor read them
        load_diffusion_model(ddpm)


def test_numbers_too_large_for_the_wanted_format_are_named(ddpm: Path) -> None:
    path = ddpm / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    save_file(state | {"conv_in.bias": torch.full_like(state["conv_in.bias"].float(), 1e6)}, path)
    with pytest.raises(ModelFileError, match=r"infinity in conv_in\.bias \(as float16\)"):
        load_diffusion_model(ddpm, dtype=torch.float16)


# --- pickles ----------------------------------------------------------------------------------


def as_bin(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """Take the UNet's safetensors away; where its `.bin` belongs, and what it held."""
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    path.unlink()
    return path.with_suffix(".bin"), state


def with_program(source: Path, target: Path, program: bytes, compression: int = zipfile.ZIP_STORED) -> None:
    """A torch archive whose pickle is replaced."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for item in old.infolist():
            content = program if item.filename.endswith("data.pkl") else old.read(item)
            new.writestr(item.filename, content)


@pytest.mark.parametrize("where", ["inside", "whole", "named", "legacy", "bare"])
def test_a_pickle_with_a_program_is_refused(canary: Path, ddpm: Path, where: str) -> None:
    path, state = as_bin(ddpm)
    if where == "inside":
        torch.save(OrderedDict(state, extra=Payload(canary)), path)
    elif where == "whole":
        torch.save(Payload(canary), path)
    elif where == "named":
        torch.save(state, path)
        with_program(path, path.with_suffix(".tmp"), b"\x80\x02cevil\nModel\n)R.")
        path.with_suffix(".tmp").rename(path)
    elif where == "legacy":
        torch.save(OrderedDict(state, extra=Payload(canary)), path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(Payload(canary)))
    with pytest.raises(ModelFileError, match="may run a program|not a PyTorch file"):
        load_diffusion_model(ddpm)


def test_a_pickle_is_never_opened_for_sdxl(canary: Path, sdxl: Path) -> None:
    for path in sdxl.rglob("*.safetensors"):
        torch.save({"a": Payload(canary)}, path.parent / path.name.replace(".fp16.safetensors", ".bin"))
        path.unlink()
    with pytest.raises(ModelFileError, match=r"holds no diffusion_pytorch_model\.safetensors"):
        load_diffusion_model(sdxl)


def test_a_pickle_beside_safetensors_is_never_opened(canary: Path, ddpm: Path) -> None:
    torch.save({"a": Payload(canary)}, ddpm / "unet" / "diffusion_pytorch_model.bin")
    assert load_diffusion_model(ddpm).architecture == "ddpm"


def test_a_pickle_under_the_name_of_safetensors_is_never_opened(canary: Path, ddpm: Path) -> None:
    path, state = as_bin(ddpm)
    torch.save(OrderedDict(state, extra=Payload(canary)), path.with_suffix(".safetensors"))
    with pytest.raises(ModelFileError, match="is a pickle"):
        load_diffusion_model(ddpm)


STATES: list[tuple[str, Any, str]] = [
    ("a list", [torch.ones(2)], "not a state dict"),
    ("a tensor", torch.ones(2), "not a state dict"),
    ("numbers for names", {1: torch.ones(2)}, "not a state dict"),
    ("a number", {"a": 1}, "not a plain tensor"),
    ("a dict", {"a": {"b": torch.ones(2)}}, "not a plain tensor"),
    ("a sparse tensor", {"a": torch.eye(3).to_sparse()}, "more than tensors"),
    ("a tensor on no device", {"a": torch.ones(2, device="meta")}, "more than tensors"),
    ("one number, endlessly", {"a": torch.ones(1).expand(2**40)}, "much larger than the file"),
]


@pytest.mark.parametrize(("state", "said"), [s[1:] for s in STATES], ids=[s[0] for s in STATES])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, state: Any, said: str) -> None:
    path = tmp_path / "model.bin"
    torch.save(state, path)
    with pytest.raises(ModelFileError, match=said):
        read_pickled(path)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"\x80\x02}" + b")" + b"\x85" * 900_000 + b"K\x01s.", "nested too deeply"),  # hashing it would end the process
        (b"\x80\x02}" + b"]q\x00h\x00a" * 10_000 + b".", "holds itself"),
        (b"\x80\x02}" + b"0" * 50 + b".", "uses POP"),  # takes more than is there
        (b"\x80\x02}", "its pickle is broken"),  # has no end
        (b"", "its pickle is broken"),
        (b"\x80\x02}" + b"N0" * 2**20 + b".", "not a state dict"),  # two megabytes of nothing
    ],
    ids=["nested", "in itself", "too much taken", "no end", "empty", "long"],
)
def test_a_broken_pickle_program_is_refused(tmp_path: Path, program: bytes, said: str) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "good.bin")
    with_program(tmp_path / "good.bin", tmp_path / "model.bin", program)
    with pytest.raises(ModelFileError, match=said):
        read_pickled(tmp_path / "model.bin")


def test_a_compressed_pickle_is_refused(tmp_path: Path) -> None:
    """A few kilobytes could inflate into gigabytes."""
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "good.bin")
    with zipfile.ZipFile(tmp_path / "good.bin") as archive:
        program = archive.read("good/data.pkl")
    with_program(tmp_path / "good.bin", tmp_path / "model.bin", program, zipfile.ZIP_DEFLATED)
    assert (tmp_path / "model.bin").stat().st_size < 10_000
    with pytest.raises(ModelFileError, match="not a state dict as PyTorch writes it"):
        read_pickled(tmp_path / "model.bin")


@pytest.mark.parametrize("keep", [0, 10, 1000, -100])
def test_a_pickle_cut_short_is_damaged(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "model.bin"
    torch.save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError, match="cut short|damaged|an empty file"):
        read_pickled(path)


def test_storage_shorter_than_its_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(4)}, tmp_path / "good.bin")
    with zipfile.ZipFile(tmp_path / "good.bin") as archive:
        program = archive.read("good/data.pkl")
    assert program.count(b"K\x04") == 2  # numbers in the storage, and the tensor's shape
    with_program(
        tmp_path / "good.bin", tmp_path / "model.bin", program.replace(b"K\x04", b"J" + struct.pack("<i", 10**6))
    )
    with pytest.raises(ModelFileError, match="other bytes than its program says"):
        read_pickled(tmp_path / "model.bin")


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [10**7, -(10**7), [1, 10**7], {"a": 10**7}, float("inf"), float("nan")])
def test_numbers_beyond_any_model_are_refused(value: object) -> None:
    with pytest.raises(ModelFileError, match="here: key"):
        check_sizes({"key": value}, "here")


def test_real_configs_are_within_the_limits() -> None:
    """SDXL base's UNet and its larger text encoder, and ddpm-church-256."""
    unet = {"block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10], "norm_eps": 1e-5}
    check_sizes(unet | {"cross_attention_dim": 2048, "projection_class_embeddings_input_dim": 2816}, "unet")
    check_sizes({"num_hidden_layers": 32, "vocab_size": 49408, "intermediate_size": 5120}, "encoder")
    check_sizes({"block_out_channels": [128, 128, 256, 256, 512, 512], "sample_size": 256}, "church")
    check_sizes({"num_train_timesteps": 1000, "trained_betas": [0.1] * 1000}, "scheduler")
