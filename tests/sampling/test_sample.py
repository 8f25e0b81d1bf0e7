"""What sampling promises: seeds, batches, immutability, errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tastemaker.loaders import InputError, NonFiniteError, with_lora
from tastemaker.sampling import SampleOptions, SampleSettings, sample
from tastemaker.sampling.steps import ImageNoise
from tests.recorded import Placed, Recorded

PROMPT = "a large red heart on a blue background"


def test_noise_depends_on_the_seed_alone() -> None:
    both = ImageNoise([1, 2], (4, 2, 2))
    alone = ImageNoise([2], (4, 2, 2))
    for _ in range(3):
        assert torch.equal(both.draw(torch.device("cpu"))[1:], alone.draw(torch.device("cpu")))


@pytest.mark.parametrize(("scheduler", "eta"), [("ddim", 1.0), ("ddpm", 0.0), ("pndm", 0.0)])
def test_splitting_the_batch_changes_rounding_only(tiny_sdxl, scheduler: str, eta: float) -> None:
    call = {"scheduler": scheduler, "steps": 5, "eta": eta, "seeds": [4, 5, 6]}
    whole = sample(tiny_sdxl, PROMPT, **call)
    split = sample(tiny_sdxl, PROMPT, options=SampleOptions(at_once=2), **call)
    assert (whole.images - split.images).abs().max() <= 1e-5


def test_a_seed_makes_the_same_image_at_any_place(tiny_sdxl) -> None:
    first = sample(tiny_sdxl, PROMPT, steps=4, seeds=[8, 9])
    last = sample(tiny_sdxl, PROMPT, steps=4, seeds=[1, 2, 9])
    assert (first.images[1] - last.images[2]).abs().max() <= 1e-5


def test_the_same_call_is_bit_equal_and_changes_no_weight(tiny_sdxl) -> None:
    before = {k: v.clone() for k, v in tiny_sdxl.unet.state_dict().items()}
    one = sample(tiny_sdxl, PROMPT, steps=3, seeds=[1, 2])
    two = sample(tiny_sdxl, PROMPT, steps=3, seeds=[1, 2])
    assert torch.equal(one.images, two.images)
    assert all(torch.equal(v, before[k]) for k, v in tiny_sdxl.unet.state_dict().items())


def test_shapes_and_range(tiny_sdxl) -> None:
    samples = sample(tiny_sdxl, [PROMPT, "a small green ring on a white background"], steps=2, seeds=[1, 2])
    assert samples.images.shape == (2, 64, 64, 3)
    assert samples.images.dtype == torch.float32
    assert samples.images.min() >= 0
    assert samples.images.max() <= 1
    assert samples.latents.shape == (2, 4, 16, 16)
    assert samples.seeds == (1, 2)
    assert samples.prompts[1].startswith("a small green")


def test_steps_are_reported_and_can_stop_the_run(tiny_sdxl) -> None:
    def stop_at_three(phase: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    progress = Recorded(stop_at_three)
    with pytest.raises(KeyboardInterrupt):
        sample(tiny_sdxl, PROMPT, steps=10, seeds=[1], progress=progress)
    assert progress.counts == [(1, 10), (2, 10), (3, 10)]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scheduler", "karras"),
        ("scheduler", "../ddim"),
        ("steps", 0),
        ("steps", 1001),
        ("steps", 2.5),
        ("steps", True),
        ("steps", "5"),
        ("steps", None),
        ("guidance_scale", float("nan")),
        ("guidance_scale", float("inf")),
        ("guidance_scale", 0.5),
        ("eta", -0.1),
        ("eta", 2),
        ("height", 8200),
        ("width", -8),
    ],
)
def test_a_bad_setting_is_named(field: str, value: object) -> None:
    with pytest.raises(InputError) as error:
        SampleSettings(**{field: value})
    assert str(error.value).startswith(f"{field}:")
    assert repr(value) in str(error.value)


def test_eta_without_ddim_is_refused_not_ignored() -> None:
    with pytest.raises(InputError, match="pndm has no eta"):
        SampleSettings(scheduler="pndm", eta=0.5)


def test_eta_goes_with_model_default_where_that_is_ddim(tiny_sdxl) -> None:
    call = {"steps": 3, "eta": 1.0, "seeds": [5]}
    with pytest.raises(InputError, match="euler_ancestral has no eta"):
        sample(tiny_sdxl, "a red heart", scheduler="model default", **call)
    ddim = replace(tiny_sdxl, scheduler_config={**tiny_sdxl.scheduler_config, "_class_name": "DDIMScheduler"})
    default = sample(ddim, "a red heart", scheduler="model default", **call)
    assert torch.equal(default.images, sample(ddim, "a red heart", scheduler="ddim", **call).images)
    assert not torch.equal(default.images, sample(ddim, "a red heart", **(call | {"eta": 0.0})).images)


@pytest.mark.parametrize("tiling", ["off", "on"])
def test_the_host_is_asked_for_room_to_encode_and_decode(tiny_sdxl, tiling: str) -> None:
    from tastemaker.sampling.decode import vae_bytes

    place = Placed(tiny_sdxl)
    sample(
        tiny_sdxl,
        PROMPT,
        steps=1,
        denoise=0.5,
        images=torch.rand(1, 64, 512, 3, generator=torch.Generator().manual_seed(0)),
        options=SampleOptions(vae_tiling=tiling),
        place=place,
    )
    width = 512 if tiling == "off" else 256  # a tile is 64 latents
    assert [working for names, working in place.calls if names == ("vae",)] == [vae_bytes(tiny_sdxl, 64, width, 1)] * 2


def test_the_host_is_asked_for_room_for_merged_weights_too(tiny_sdxl, tmp_path) -> None:
    from tastemaker.loaders.lora.apply import merged_bytes
    from tastemaker.loaders.lora.read import read_lora
    from tastemaker.loaders.lora.state import lora_state
    from tests.loaders.lora_files import attention_paths, random_layers, write

    layers = random_layers(tiny_sdxl, attention_paths(tiny_sdxl), alpha=4.0)
    write(tmp_path / "lora.safetensors", lora_state(layers))
    changed = with_lora(tiny_sdxl, read_lora(tmp_path / "lora.safetensors"))
    encoders = ("text_encoder", "text_encoder_2")
    for component in ("unet", *encoders):
        weights = [tiny_sdxl.modules[c].get_submodule(path).weight for c, path in layers if c == component]
        assert merged_bytes(changed, (component,)) == sum(4 * w.numel() for w in weights) > 0
    places = Placed(tiny_sdxl), Placed(changed)
    for model, place in zip((tiny_sdxl, changed), places, strict=True):
        sample(model, "a blue ring with room around it", steps=1, seeds=[1], place=place)
    plain, merged = (dict(place.calls) for place in places)
    assert merged[("unet",)] - plain[("unet",)] == merged_bytes(changed, ("unet",))
    assert merged[encoders] - plain[encoders] == merged_bytes(changed, encoders)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"seeds": []}, "seeds"),
        ({"seeds": [-1]}, "seeds"),
        ({"seeds": [2**63]}, "seeds"),
        ({"seeds": [1.5]}, "seeds"),
        ({"seeds": [True]}, "seeds"),
        ({"prompts": ["a", "b"], "seeds": [1, 2, 3]}, "2 prompts for 3 seeds"),
        ({"prompts": ["embedding:x"]}, "not supported"),
        ({"denoise": 0.5}, "Connect an image or a latent"),
        ({"denoise": 0.0}, "denoise"),
        ({"images": torch.zeros(1, 64, 64, 3), "latents": torch.zeros(1, 4, 16, 16)}, "one of the two"),
        ({"images": torch.zeros(1, 64, 64, 4), "denoise": 0.5}, "images"),
        ({"images": torch.zeros(2, 64, 64, 3), "denoise": 0.5}, "one for each of the 1"),
        ({"images": torch.zeros(1, 60, 64, 3), "denoise": 0.5}, "multiples of 8"),
        ({"images": torch.zeros(1, 64, 64, 3), "denoise": 0.5, "height": 32}, "scale it"),
        ({"latents": torch.full((1, 4, 16, 16), float("nan")), "denoise": 0.5}, "latents"),
        ({"latents": torch.zeros(1, 3, 16, 16), "denoise": 0.5}, "4 channels"),
        ({"prompts": ["x" * 10_001]}, "at most 10,000"),
        ({"prompts": ["bad \ud800 text"]}, "surrogate"),
        ({"prompts": [None]}, "must be text"),
        ({"height": 60}, "multiples of 8"),
    ],
)
def test_bad_calls_say_what_is_wrong(tiny_sdxl, call: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sample(tiny_sdxl, **({"prompts": PROMPT, "steps": 2} | call))


@pytest.mark.parametrize(
    ("call", "edge", "said"),
    [
        ({"steps": 4, "denoise": 0.15}, 0.8, r"Set denoise above 0\.2, or refiner_start above 0\.85"),
        ({"steps": 2}, 0.95, "none is the refiner's. Lower refiner_start, or take more steps"),
        ({"steps": 1}, 0.05, "none is the model's. Raise refiner_start, or take more steps"),
    ],
)
def test_a_hand_over_without_steps_is_said_of_refiner_start(tiny_sdxl, call: dict, edge: float, said: str) -> None:
    start = torch.zeros(1, 4, 16, 16) if "denoise" in call else None
    config = {**tiny_sdxl.scheduler_config, "timestep_spacing": "leading" if edge < 0.9 else "trailing"}
    model = replace(tiny_sdxl, scheduler_config=config)
    options = SampleOptions(refiner_start=edge)
    with pytest.raises(InputError, match=f"refiner_start: .*{said}"):
        sample(model, PROMPT, latents=start, refiner=model, options=options, **call)


def test_a_mask_is_kept_through_the_refiner_and_by_halves(tiny_sdxl) -> None:
    start = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.linspace(0, 1, 16).expand(2, 16, 16)
    call = {"steps": 4, "seeds": [1, 2], "latents": start, "refiner": tiny_sdxl, "options": SampleOptions(at_once=1)}
    made, free = sample(tiny_sdxl, PROMPT, mask=mask, **call), sample(tiny_sdxl, PROMPT, **call)
    assert torch.equal(made.latents[..., 0], start[..., 0].expand(2, -1, -1))
    assert not torch.equal(made.latents[..., 8], free.latents[..., 8])
    everywhere = sample(tiny_sdxl, PROMPT, mask=torch.ones(1, 1, 64, 64), **call)
    assert torch.equal(everywhere.latents, free.latents)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"latents": None}, "mask: .* connect one"),
        ({"mask": torch.full((8, 8), 1.5)}, "mask: .* from 0"),
        ({"mask": torch.full((8, 8), float("nan"))}, "mask: .* from 0"),
        ({"mask": torch.ones(8)}, "mask: "),
        ({"mask": torch.ones(3, 8, 8)}, "one for each of the 1"),
        ({"scheduler": "dpmpp_sde"}, "scheduler: .* a mask cannot be kept"),
    ],
)
def test_a_mask_that_cannot_be_kept_is_refused(tiny_sdxl, call: dict, message: str) -> None:
    start = {"latents": torch.zeros(1, 4, 16, 16), "mask": torch.ones(8, 8)}
    with pytest.raises(InputError, match=message):
        sample(tiny_sdxl, PROMPT, **start | call)


def test_an_unconditional_model_refuses_text(tiny_ddpm) -> None:
    with pytest.raises(InputError, match="unconditional"):
        sample(tiny_ddpm, "a cat", steps=2)


@pytest.mark.parametrize("prompt", ["", "<img src=x onerror=alert(1)>", "\U0001f600 emoji", "=HYPERLINK(1)"])
def test_odd_prompts_are_only_text(tiny_sdxl, prompt: str) -> None:
    assert torch.isfinite(sample(tiny_sdxl, prompt, steps=1, seeds=[1]).images).all()


def test_nan_stops_with_the_name_of_the_model(tiny_ddpm) -> None:
    class Broken(torch.nn.Module):
        config = tiny_ddpm.unet.config

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x, t):
            from types import SimpleNamespace

            return SimpleNamespace(sample=x * float("nan"))

    with pytest.raises(NonFiniteError, match="tiny-ddpm"):
        sample(replace(tiny_ddpm, modules={"unet": Broken()}), steps=2)
