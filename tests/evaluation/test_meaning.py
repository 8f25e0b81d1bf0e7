"""What the figures say of the embedded models is true of them: more steps are better, and noise is worst."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from scripts.embedded.world import Jitter, caption, draw, random_scene
from tastemaker.evaluation.evaluate import evaluate
from tastemaker.evaluation.fid.features import load_extractor
from tastemaker.evaluation.protocols import PromptRow
from tastemaker.evaluation.references import Reference
from tastemaker.evaluation.run import Run
from tastemaker.evaluation.settings import EvaluationSettings
from tastemaker.evaluation.sources import GivenPictures, SampledPictures
from tastemaker.images.pictures import TensorPictures
from tastemaker.sampling.settings import SampleSettings


def test_figures_order_noise_few_steps_many_steps_and_drawn(tmp_path: Path, tiny_sdxl: Any, tiny_reward: Any) -> None:
    rng = np.random.default_rng(3)
    count = 32
    scenes = [random_scene(rng, from_held_out=False) for _ in range(count)]
    texts = tuple(caption(scene, rng).text for scene in scenes)
    drawn, others = (
        torch.tensor(np.stack([draw(random_scene(rng, from_held_out=False), Jitter.random(rng)) for _ in range(n)]))
        for n in (300, count)
    )
    reference = Reference("drawn", GivenPictures(TensorPictures(drawn.float())), folder=tmp_path / "reference")
    sources: dict[str, Any] = {
        "noise": GivenPictures(TensorPictures(torch.rand(count, 64, 64, 3, generator=torch.Generator().manual_seed(0))))
    }
    for steps in (2, 8):
        settings = SampleSettings(steps=steps, guidance_scale=3.0)
        sources[str(steps)] = SampledPictures(tiny_sdxl, tmp_path / f"p{steps}", texts, tuple(range(count)), settings)
    sources["drawn"] = GivenPictures(TensorPictures(others.float()))
    extractor = load_extractor("tiny-vision")
    rows = [PromptRow(str(i), text) for i, text in enumerate(texts)]
    settings = EvaluationSettings(kid_subsets=10, kid_subset_size=30, resamples=0)
    found = {}
    for name, source in sources.items():
        run = Run(name, rows, source, tmp_path / name, "", extractor, reference, [tiny_reward], settings)
        found[name] = evaluate(run).sections["overall"]
    fid = [found[name]["FID"].value for name in ("noise", "2", "8", "drawn")]
    assert fid == sorted(fid, reverse=True)
    assert found["noise"]["KID x1000"].value > found["2"]["KID x1000"].value > found["8"]["KID x1000"].value
    assert found["8"]["tiny-imagereward"].low > found["2"]["tiny-imagereward"].high
