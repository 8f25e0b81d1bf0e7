"""Why a score: edits reach what they aim at and nothing is said of what a reward does not look at."""

from __future__ import annotations

import pytest
import torch

from tastemaker.rewards.function import custom
from tastemaker.taste.attributes import ATTRIBUTES, attributes
from tastemaker.taste.reasons import EDITED, edited, reasons

NAMES = list(ATTRIBUTES)


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """Coloured noise, soft enough to be a picture: (280, 300, 3), larger than what an edit is measured on."""
    rough = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    return torch.nn.functional.interpolate(rough, (280, 300), mode="bilinear")[0].movedim(0, -1)


@pytest.mark.parametrize("name", EDITED)
@pytest.mark.parametrize("by", [-0.03, 0.03])
def test_an_edit_brings_its_attribute_to_the_target(picture: torch.Tensor, name: str, by: float) -> None:
    target = float(attributes(picture[None])[0, NAMES.index(name)]) + by
    made = edited(picture, name, target)
    near = 0.05 if name == "sharpness" else 0.004  # a logarithm, of detail that a small copy shows less of
    assert made.shape == picture.shape
    assert float(attributes(made[None])[0, NAMES.index(name)]) == pytest.approx(target, abs=near)
    if name in ("warmth", "greenness", "saturation"):  # colours change, and the light stays
        assert float(attributes(made[None])[0, 0]) == pytest.approx(float(attributes(picture[None])[0, 0]), abs=1e-3)


def test_what_the_reward_looks_at_is_named_with_its_effect(picture: torch.Tensor) -> None:
    """A reward of 10 x (red - blue): the picture is 0.1 warmer than its group, which is worth 1."""
    warm = custom("warm", lambda images, prompts: 10 * (images[..., 0] - images[..., 2]).mean((1, 2)))
    own = attributes(picture[None])[0]
    usual = own.clone()
    usual[NAMES.index("warmth")] -= 0.1
    usual[NAMES.index("brightness")] += 0.1
    found = {one.attribute: one for one in reasons(warm, picture, "", own, usual)}
    assert list(found) == ["warmth", "brightness"]  # nothing else differs from the group
    assert found["warmth"].words == "warmer"
    assert found["warmth"].effect == pytest.approx(1, abs=0.05)
    assert found["brightness"].words == "darker"
    assert abs(found["brightness"].effect) < 0.02


def test_what_is_as_usual_is_left_alone(picture: torch.Tensor) -> None:
    """The copy on which the strength is found is softer than the picture: that is no difference to edit away."""
    fine = picture + 0.1 * torch.rand(280, 300, 1, generator=torch.Generator().manual_seed(1))
    for name in EDITED:
        same = edited(fine, name, float(attributes(fine[None])[0, NAMES.index(name)]))
        assert float((same - fine.clamp(0, 1)).abs().max()) < 2e-3, name


def test_a_flat_picture_is_edited_as_far_as_it_goes() -> None:
    grey = torch.full((8, 8, 3), 0.5)
    assert torch.equal(edited(grey, "saturation", 0.5), grey)  # grey has no colour to strengthen
    assert float(edited(grey, "brightness", 2.0).mean()) == 1.0
