"""FID with the official Inception file, against torch-fidelity with the same weights."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from scripts.comfy.locate import ROOT

from .check import Measured, Settings
from .found import named

COUNT, SIDE = 8, 96
TOLERANCE = 1e-3  # share of FID: 2048 features of few pictures, two ways to take a matrix's root


def inception_files(models: Path) -> list[Path]:
    from tastemaker.evaluation.fid.inception_file import FILE_NAMES

    found = named(models / "rewards", FILE_NAMES)
    return [found] if found else []


def pictures(seed: int) -> list[Image.Image]:
    """Make the same pictures on every machine: soft colours of one set, finer and darker ones of another."""
    made = []
    for number in range(COUNT):
        y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
        waves = [(1 + seed) * (number + 2) * x + 5 * c + seed * y * number for c in range(3)]
        planes = [np.sin(wave) * np.cos((number + 1) * y + c) for c, wave in enumerate(waves)]
        levels = (127.5 + 127.5 * np.stack(planes, -1) / (1 + 0.3 * seed)).round().astype(np.uint8)
        made.append(Image.fromarray(levels))
    return made


def distance(path: Path, settings: Settings) -> Measured:
    """Compare FID of two sets made by code."""
    from tastemaker.evaluation.fid.distance import frechet_distance
    from tastemaker.evaluation.fid.inception_file import SIDE as SEEN
    from tastemaker.evaluation.fid.inception_file import load_inception
    from tastemaker.evaluation.fid.resize import resize_picture
    from tastemaker.evaluation.fid.statistics import statistics_of

    network, sets = load_inception(path).to(settings.device), []
    for seed in (0, 1):
        pixels = torch.stack([resize_picture(picture, SEEN, "legacy") for picture in pictures(seed)])
        with torch.no_grad():
            sets.append(network(pixels.to(settings.device)).float().cpu())
    ours = frechet_distance(*(statistics_of([features]) for features in sets))
    note = f"FID of two sets of {COUNT}: {ours:.4f}"
    theirs, why = reference(path)
    if theirs is None:
        return Measured(None, None, "", "" if np.isfinite(ours) and ours > 0 else "FID is not above 0", (why, note))
    return Measured(abs(ours - theirs) / theirs, TOLERANCE, "share of FID", "", (note, f"torch-fidelity: {theirs:.4f}"))


def reference(path: Path) -> tuple[float | None, str]:
    """Return torch-fidelity's FID of the same sets, or None and why there is none."""
    sys.path.append(str(ROOT / ".venv" / "references"))  # where scripts/bootstrap.py puts it
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    except ImportError:
        return None, "torch-fidelity is not installed (make test-env installs it)"
    finally:
        sys.path.pop()
    if path.suffix == ".safetensors":
        return None, "torch-fidelity reads the .pth only"
    network = FeatureExtractorInceptionV3("official", ["2048"], feature_extractor_weights_path=str(path))
    statistics = []
    for seed in (0, 1):
        pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures(seed)])
        with torch.no_grad():
            statistics.append(fid_features_to_statistics(network(pixels)[0]))
    return float(fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]), ""
