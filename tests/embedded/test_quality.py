"""The embedded models are real models: measured as the model card is, on fewer pictures."""

from __future__ import annotations

import re

from scripts.embedded import measure
from tests.conftest import ROOT


def test_tiny_sdxl_draws_what_it_is_told() -> None:
    figures = measure.measure_sdxl(100)
    assert figures["colour"].right >= 95
    assert figures["background"].right >= 95
    assert figures["shape"].right >= 90


def test_tiny_ddpm_draws_clean_shapes() -> None:
    assert measure.measure_ddpm(40).right >= 36


def test_tiny_imagereward_prefers_the_matching_picture() -> None:
    figures = measure.measure_reward(600)
    assert figures["one attribute differs"].right >= 0.97 * 600
    assert figures["unrelated"].right >= 0.99 * 600


def test_the_model_card_holds_measured_figures() -> None:
    card = (ROOT / "assets" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert len(re.findall(r"\d+\.\d% \(\d+ of \d+\)", card)) >= 12
