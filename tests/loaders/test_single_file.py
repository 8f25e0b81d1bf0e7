"""Single files in the original layout: the same model as the folder, strictly, with the official names."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from scripts.full_size import official
from tastemaker.loaders import ModelFileError, load_diffusion_model
from tastemaker.loaders.architecture import ARCHITECTURES
from tastemaker.loaders.folder.tokenizer import shipped_tokenizers
from tastemaker.loaders.single_file.load import check_fit, checkpoint_parts
from tests.conftest import GOLDENS, ROOT
from tests.loaders import original_files
from tests.loaders.original_files import State


@pytest.fixture(scope="module")
def made() -> dict[str, torch.nn.Module]:
    return original_files.modules()


@pytest.fixture(scope="module")
def state(made) -> State:
    return original_files.original_state(made)


@pytest.fixture(scope="module")
def file(state, tmp_path_factory) -> Path:
    return original_files.save(state, tmp_path_factory.mktemp("one") / "small.safetensors")


@pytest.fixture(scope="module")
def loaded(file):
    return load_diffusion_model(file)


def test_a_file_is_the_same_model_as_the_folder(made, loaded, tmp_path: Path) -> None:
    folder = load_diffusion_model(original_files.save_folder(made, tmp_path / "small"))
    assert (loaded.architecture, loaded.name, loaded.zero_empty_prompt) == ("sdxl", "small.safetensors", True)
    assert loaded.scheduler_config == folder.scheduler_config
    for name, module in folder.modules.items():
        theirs, mine = module.state_dict(), loaded.modules[name].state_dict()
        assert theirs.keys() == mine.keys()
        assert all(torch.equal(mine[k], theirs[k]) for k in theirs)
        assert not any(p.requires_grad for p in loaded.modules[name].parameters())
    draw = torch.Generator().manual_seed(1)
    x, context = torch.randn(2, 4, 16, 16, generator=draw), torch.randn(2, 77, 192, generator=draw)
    added = {"text_embeds": torch.randn(2, 128, generator=draw), "time_ids": torch.full((2, 6), 64.0)}
    ids = loaded.tokenizers[1](["a red cat"], padding="max_length", return_tensors="pt").input_ids
    assert ids.shape == (1, 77)
    with torch.no_grad():
        outputs = [m.unet(x, 500, context, added_cond_kwargs=added).sample for m in (loaded, folder)]
        assert outputs[0].std() > 1e-3
        assert torch.equal(*outputs)
        assert torch.equal(*(m.vae.decode(x).sample for m in (loaded, folder)))
        for name in ("text_encoder", "text_encoder_2"):
            assert torch.equal(*(m.modules[name](ids)[0] for m in (loaded, folder)))


def test_sizes_come_from_the_shapes(loaded) -> None:
    written = {
        "unet": original_files.UNET,
        "vae": original_files.VAE,
        "text_encoder": original_files.CLIP_L,
        "text_encoder_2": original_files.CLIP_G,
    }
    for name, config in written.items():
        for key, value in config.items():
            found = getattr(loaded.modules[name].config, key)
            assert (list(found) if isinstance(found, tuple) else found) == value, f"{name}.{key}"


def test_diffusers_own_conversion_agrees(state, made) -> None:
    from diffusers.loaders import single_file_utils as reference

    unet = reference.convert_ldm_unet_checkpoint(dict(state), dict(made["unet"].config))
    vae = reference.convert_ldm_vae_checkpoint(dict(state), dict(made["vae"].config))
    clip_g = reference.convert_open_clip_checkpoint(
        made["text_encoder_2"], dict(state), prefix="conditioner.embedders.1.model."
    )
    clip_l = reference.convert_ldm_clip_checkpoint(dict(state))
    for theirs, name in ((unet, "unet"), (vae, "vae"), (clip_g, "text_encoder_2"), (clip_l, "text_encoder")):
        mine = {k.removeprefix("text_model."): v for k, v in made[name].state_dict().items() if "position_ids" not in k}
        theirs = {k.removeprefix("text_model."): v for k, v in theirs.items()}
        assert theirs.keys() == mine.keys(), name
        assert all(torch.equal(theirs[k], mine[k]) for k in mine), name


def test_the_form_that_diffusers_script_writes_loads(state, loaded, tmp_path: Path) -> None:
    """Of its early versions: the projection is not transposed, and `position_ids` are kept."""
    g = "conditioner.embedders.1.model."
    other = dict(state)
    other[g + "text_projection.weight"] = other.pop(g + "text_projection").T
    other[g + "text_model.embeddings.position_ids"] = torch.arange(77)[None]
    again = load_diffusion_model(original_files.save(other, tmp_path / "playground-v2.safetensors"))
    mine = again.modules["text_encoder_2"].state_dict()
    theirs = loaded.modules["text_encoder_2"].state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in theirs)


def test_other_spellings_of_the_same_weights_load(state, loaded, tmp_path: Path) -> None:
    """CLIP-L without `text_model.` (transformers 5) and the VAE's attention as linear layers."""
    prefix = "conditioner.embedders.0.transformer."
    other = {k.replace(prefix + "text_model.", prefix): v for k, v in state.items()}
    flat = {k: v[:, :, 0, 0] for k, v in other.items() if "mid.attn_1." in k and v.dim() == 4}
    assert len(flat) == 8
    again = load_diffusion_model(original_files.save(other | flat, tmp_path / "spelt.safetensors"))
    for name in ("text_encoder", "vae"):
        mine, theirs = again.modules[name].state_dict(), loaded.modules[name].state_dict()
        assert all(torch.equal(mine[k], theirs[k]) for k in theirs)


UNUSED = (
    "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    "cond_stage_model.model.token_embedding.weight",
    "embedders.0.transformer.text_model.final_layer_norm.weight",
    "conditioner.embedders.1.model.attn_mask",
    "conditioner.embedders.1.model.visual.transformer.resblocks.0.ln_1.weight",
    "conditioner.embedders.2.model.positional_embedding",
    "first_stage_model.loss.logvar",
    "first_stage_model.loss.discriminator.main.0.weight",
    "first_stage_model.model_ema.decay",
    "global_step",
    "surprise",
    "conditioner.embedders.0.transformer.text_model.embeddings.position_ids",
    "conditioner.embedders.0.transformer.text_projection.weight",
    "conditioner.embedders.1.model.logit_scale",
    "model_ema.diffusion_modelinput_blocks00bias",
    "denoiser.sigmas",
    "alphas_cumprod",
)


def test_what_belongs_to_no_part_is_left_and_logged(state, loaded, tmp_path: Path, caplog) -> None:
    """As ComfyUI and diffusers leave it."""
    extras = {name: torch.ones(3) for name in UNUSED}
    with caplog.at_level("INFO"):
        again = load_diffusion_model(original_files.save(state | extras, tmp_path / "more.safetensors"))
    for name, module in loaded.modules.items():
        mine = again.modules[name].state_dict()
        assert all(torch.equal(mine[k], v) for k, v in module.state_dict().items())
    assert again.scheduler_config["prediction_type"] == "epsilon"
    (said,) = [r.getMessage() for r in caplog.records if "none of its parts" in r.getMessage()]
    assert said.startswith("more.safetensors also holds tensors of none of its parts, which are not used: alphas")
    assert said.endswith(f"and {len(UNUSED) - 5} more.")


def test_marks_are_not_called_unused(state, tmp_path: Path, caplog) -> None:
    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    with caplog.at_level("INFO"):
        load_diffusion_model(original_files.save(state | marks, tmp_path / "marks.safetensors"))
    assert not [r for r in caplog.records if "not used" in r.getMessage()]


SCALES = (
    "scaled_fp8",
    "model.diffusion_model.scaled_fp8",
    "model.diffusion_model.input_blocks.4.1.proj_in.scale_weight",
    "model.diffusion_model.input_blocks.4.1.proj_in.weight_scale",
    "conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc.scale_input",
    "model.diffusion_model.out.2.weight.absmax",
    "model.diffusion_model.out.2.weight.quant_state.bitsandbytes__nf4",
)


@pytest.mark.parametrize("name", SCALES)
def test_scaled_8_bit_weights_are_refused_by_name(state, tmp_path: Path, name: str) -> None:
    """Read without their scales they would make noise, silently."""
    path = original_files.save(state | {name: torch.ones(1)}, tmp_path / "fp8.safetensors")
    with pytest.raises(ModelFileError, match=rf"fp8\.safetensors is stored in 8 or 4 bits with scales .*{name}") as e:
        load_diffusion_model(path)
    assert "plain fp8" in str(e.value)


def test_plain_8_bit_weights_load(state, tmp_path: Path) -> None:
    small = {k: v.to(torch.float8_e4m3fn) if k.startswith("model.") else v for k, v in state.items()}
    again = load_diffusion_model(original_files.save(small, tmp_path / "plain8.safetensors"))
    key = "model.diffusion_model.input_blocks.0.0.weight"
    assert torch.equal(again.unet.conv_in.weight, small[key].float())


def test_v_prediction_is_read_from_the_file(state, tmp_path: Path) -> None:
    again = load_diffusion_model(original_files.save(state | {"v_pred": torch.tensor([])}, tmp_path / "v.safetensors"))
    assert again.scheduler_config["prediction_type"] == "v_prediction"


def test_zero_terminal_snr_is_read_from_the_file_and_starts_from_pure_noise(state, tmp_path: Path) -> None:
    from tastemaker.sampling.schedules import make_schedule

    marks = {"v_pred": torch.tensor([]), "ztsnr": torch.tensor([])}
    config = load_diffusion_model(original_files.save(state | marks, tmp_path / "z.safetensors")).scheduler_config
    assert (config["prediction_type"], config["rescale_betas_zero_snr"]) == ("v_prediction", True)
    for scheduler in ("ddim", "model default"):
        assert make_schedule(config, scheduler, 25).timesteps[0] == 999
    assert make_schedule(config, "ddim", 25).coefficients[0].a_t == 0


def without(name: str) -> Callable[[State], State]:
    return lambda state: {k: v for k, v in state.items() if not k.startswith(name)}


def plus(name: str, tensor: torch.Tensor) -> Callable[[State], State]:
    return lambda state: state | {name: tensor}


OUT = "model.diffusion_model.out.2.bias"
MIDDLE = "model.diffusion_model.middle_block.0.emb_layers.1.weight"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without(OUT), rf"missing {OUT}"),
        (without("first_stage_model."), "holds no VAE"),
        (without("conditioner.embedders.0."), r"holds no conditioner\.embedders\.0\.transformer\.embeddings"),
        (without("conditioner."), "an SDXL UNet without the rest"),
        (without("first_stage_model.decoder.mid.attn_1."), r"missing first_stage_model\.decoder\.mid\.attn_1\.k\.bias"),
        (plus("model.diffusion_model.surprise", torch.ones(1)), r"unknown model\.diffusion_model\.surprise"),
        (plus(MIDDLE, torch.ones(5, 256)), rf"{MIDDLE} has the shape \(5, 256\); .* needs \(192, 256\)"),
        (plus(OUT, torch.tensor([0.0, 1.0, float("nan"), 0.0])), r"NaN or infinity in conv_out\.bias"),
        (plus(OUT, torch.zeros(4, dtype=torch.int8)), r"conv_out\.bias is stored as torch\.int8"),
        (plus("ztsnr", torch.tensor([])), "named v_pred too"),
        (plus("model.diffusion_model.input_blocks.0.0.weight", torch.ones(64, 9, 3, 3)), "an SDXL inpainting model"),
        (plus("model.diffusion_model.label_emb.0.0.weight", torch.ones(256, 321)), "reads 321 added numbers"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_its_own_names(
    state, tmp_path: Path, damage: Callable[[State], State], said: str
) -> None:
    path = original_files.save(damage(state), tmp_path / "bad.safetensors")
    with pytest.raises(ModelFileError, match=said) as refused:
        load_diffusion_model(path)
    # the file is whole: it would come back the same
    assert "ownload it again" not in str(refused.value)


def test_a_cut_file_is_damaged(file, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(ModelFileError, match=r"cut\.safetensors is damaged"):
        load_diffusion_model(cut)


def test_the_loaded_tensors_are_their_own(state, tmp_path: Path) -> None:
    """Nothing is left of the mapped file: writing over it changes no weight."""
    path = original_files.save(state, tmp_path / "mine.safetensors")
    model = load_diffusion_model(path)
    with path.open("r+b") as opened:
        opened.seek(path.stat().st_size // 2)
        opened.write(b"\0" * 1_000_000)
    rewritten = load_diffusion_model(path)
    again = original_files.original_state(dict(model.modules))
    assert any(not torch.equal(t, again[k]) for k, t in original_files.original_state(dict(rewritten.modules)).items())
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())


def test_a_known_name_brings_its_scheduler(file) -> None:
    from tastemaker.sampling.scheduler_config import default_scheduler

    assert default_scheduler(load_diffusion_model(file).scheduler_config) == "euler"
    known = shutil.copy(file, file.with_name("playground-v2.fp16.safetensors"))
    assert default_scheduler(load_diffusion_model(known).scheduler_config) == "euler_ancestral"


def test_half_precision_spares_the_vae(file) -> None:
    model = load_diffusion_model(file, dtype=torch.float16)
    assert model.unet.dtype == model.modules["text_encoder_2"].dtype == torch.float16
    assert model.vae.dtype == torch.float32  # force_upcast, on a CPU
    assert load_diffusion_model(file, dtype=torch.bfloat16).vae.dtype == torch.float32
    assert load_diffusion_model(file, dtype=torch.bfloat16, runs_on="cuda").vae.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_weights_are_cast_as_they_are_read(state, tmp_path: Path, dtype: torch.dtype) -> None:
    half = {k: v.to(torch.float16) for k, v in state.items()}
    model = load_diffusion_model(original_files.save(half, tmp_path / "half.safetensors"), dtype=dtype)
    key = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_k.weight"
    weight = model.unet.down_blocks[1].attentions[0].transformer_blocks[0].attn2.to_k.weight
    assert torch.equal(weight, half[key].to(dtype))


def test_tokens_are_the_hosts() -> None:
    first, second = shipped_tokenizers()
    entries = json.loads((GOLDENS / "clip_tokens.json").read_text(encoding="utf-8"))
    assert len(entries) >= 7
    for entry in entries:
        for tokenizer, name in ((first, "clip_l"), (second, "clip_g")):
            assert tokenizer(entry["prompt"], padding="max_length").input_ids == entry[name], entry["prompt"]


# --- full size, without weights ---------------------------------------------------------------


@pytest.mark.parametrize("refiner", [False, True])
def test_a_full_size_file_gives_the_published_configs(refiner: bool) -> None:
    state = official.original_state(official.official_modules(refiner=refiner))
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    parts = checkpoint_parts(shapes, ARCHITECTURES["sdxl-refiner" if refiner else "sdxl"])
    check_fit("full.safetensors", shapes, parts)
    published = official.configs(refiner=refiner)
    assert parts.keys() == published.keys()
    for name, config in published.items():
        for key, value in config.items():
            found = getattr(parts[name].module.config, key)
            assert (list(found) if isinstance(found, tuple) else found) == value, f"{name}.{key}"


def test_full_size_names_are_those_of_the_hosts_modules() -> None:
    """ComfyUI detects SDXL and its refiner, and builds modules with our names and shapes, no more and no less."""
    pytest.importorskip("einops", reason="ComfyUI's own packages are not in this environment (test_versions)")
    command = [sys.executable, "-m", "scripts.full_size.official"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["base"] == {"detected": "SDXL", "tensors": 2513, "differences": []}
    assert found["refiner"] == {"detected": "SDXLRefiner", "tensors": 1857, "differences": []}
