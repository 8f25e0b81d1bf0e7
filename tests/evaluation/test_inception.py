"""Inception and its resizing: against torch-fidelity's network, clean-fid's definition, and broken files."""

from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.evaluation.fid.features import load_extractor
from tastemaker.evaluation.fid.inception_file import COMMAND, FILE_NAMES, find_inception, load_inception
from tastemaker.evaluation.fid.resize import legacy_bilinear, resize_picture
from tests.conftest import ROOT


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_features_are_those_of_torch_fidelity(inception_file: Path) -> None:
    reference = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    theirs = reference.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path=str(inception_file))
    pictures = [noise(64, 64, 1), noise(64, 64, 2)]
    pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures])
    with torch.no_grad():
        wanted = theirs(pixels)[0]
        found = load_inception(inception_file)(torch.stack([resize_picture(p, 299, "legacy") for p in pictures]))
    assert found.shape == (2, 2048)
    # the batch normalisation is folded into the weights: rounding only
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_legacy_resizing_is_that_of_torch_fidelity() -> None:
    reference = pytest.importorskip("torch_fidelity.interpolate_compat_tensorflow")
    for size in ((64, 64), (40, 77), (512, 300)):
        pixels = torch.from_numpy(np.array(noise(*size))).permute(2, 0, 1).float()
        wanted = reference.interpolate_bilinear_2d_like_tensorflow1x(pixels[None], (299, 299), align_corners=False)[0]
        assert torch.equal(legacy_bilinear(pixels, 299), wanted)


def test_legacy_resizing_by_hand() -> None:
    """4 to 2 pixels: places 0 and 2, so every second pixel and nothing of the others; 2 to 4: 0, 0.5, 1, 1.5."""
    row = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(4, 4)
    assert legacy_bilinear(row, 2)[0].tolist() == [1.0, 3.0]
    assert legacy_bilinear(torch.tensor([[0.0, 10.0], [0.0, 10.0]]), 4)[0].tolist() == [0.0, 5.0, 10.0, 10.0]


@pytest.mark.parametrize("size", [(64, 64), (1024, 700), (299, 299), (300, 1)])
def test_clean_resizing_is_bicubic_of_floats(size: tuple[int, int]) -> None:
    """clean-fid's definition: each channel as floats, Pillow's bicubic, cut to [0, 255], not rounded."""
    picture = noise(*size)
    array = np.asarray(picture).astype(np.float32)
    planes = [
        np.asarray(Image.fromarray(array[:, :, c]).resize((299, 299), Image.Resampling.BICUBIC)).clip(0, 255)
        for c in range(3)
    ]
    found = resize_picture(picture, 299, "clean")
    assert np.array_equal(found.numpy(), np.stack(planes))
    assert size == (299, 299) or (found != found.round()).any()


def test_files_of_both_names_are_found_and_the_error_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError) as caught:
        find_inception([tmp_path])
    assert COMMAND in str(caught.value)
    for name in FILE_NAMES:
        (tmp_path / name).write_bytes(b"x")
        assert find_inception([tmp_path / "nowhere", tmp_path]).name == name
        (tmp_path / name).unlink()


def test_files_without_batch_counters_load_and_safetensors_do(inception_file: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = torch.load(inception_file, weights_only=True)
    kept = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_file(kept, tmp_path / FILE_NAMES[0])
    pixels = torch.zeros(1, 3, 299, 299)
    with torch.no_grad():
        assert torch.equal(load_inception(tmp_path / FILE_NAMES[0])(pixels), load_inception(inception_file)(pixels))


def test_the_official_files_format_before_pytorch_1_6_loads(inception_file: Path, tmp_path: Path) -> None:
    """The published file is of 2019: 566 tensors, and as many bytes as that format makes of them, not a zip's."""
    state = torch.load(inception_file, weights_only=True)
    assert len(state) == 566
    path = tmp_path / FILE_NAMES[1]
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=False)
    assert path.read_bytes()[:2] != b"PK"
    # the official size, but for the names of storages, which are addresses; a zip is 100 kB larger
    assert abs(path.stat().st_size - 95_628_359) < 10_000 < inception_file.stat().st_size - 95_628_359
    old = load_extractor("inception-v3", folders=[tmp_path])
    new = load_extractor("inception-v3", folders=[inception_file.parent])
    pixels = torch.rand(1, 3, 299, 299, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        assert torch.equal(old.network(pixels), new.network(pixels))


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "nan", "variance"])
def test_other_files_are_refused_by_name(inception_file: Path, tmp_path: Path, change: str) -> None:
    state = torch.load(inception_file, weights_only=True)
    key = "Mixed_6b.branch7x7_2.bn.running_var"
    if change == "missing":
        del state[key]
    elif change == "extra":
        state["AuxLogits.conv0.conv.weight"] = torch.zeros(1)
    elif change == "shape":
        state[key] = torch.ones(3)
    elif change == "nan":
        state[key][0] = float("nan")
    else:
        state[key][0] = -1
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(ModelFileError, match="AuxLogits" if change == "extra" else "Mixed_6b|negative"):
        load_inception(path)


def test_a_pickle_that_runs_something_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return print, ("ran",)

    path = tmp_path / FILE_NAMES[3]
    torch.save({"Conv2d_1a_3x3.conv.weight": Evil()}, path)
    with pytest.raises(ModelFileError, match="refused"):
        load_inception(path)


@pytest.mark.parametrize("how", ["missing", "of another torch"])
def test_without_torchvision_the_error_says_what_to_install(
    inception_file: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.delitem(sys.modules, "tastemaker.evaluation.fid.inception", raising=False)
    if how == "missing":
        monkeypatch.setitem(sys.modules, "torchvision.models.inception", None)  # makes importing it an ImportError
    else:

        class Torn:
            def __getattr__(self, name: str) -> object:
                raise RuntimeError("operator torchvision::nms does not exist")

        monkeypatch.setitem(sys.modules, "torchvision.models.inception", Torn())
    with pytest.raises(InputError, match="pip install torchvision"):
        load_extractor("inception-v3", folders=[inception_file.parent])
    assert load_extractor("tiny-vision").features  # which needs none


def test_nothing_but_the_network_imports_torchvision() -> None:
    code = "import sys, tastemaker.evaluation.fid.features; print('torchvision' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == "False"
