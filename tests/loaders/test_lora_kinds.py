"""What every kind of LoRA makes of a weight, against those that invented the kinds and against ComfyUI.

Three references, none of which shares code with ours: layers that lycoris-lora 4.1.3 saved and computed
(`goldens/lycoris.safetensors`, made by `scripts/lora_goldens.py`); ComfyUI's own loader, run in a process of its
own; and formulas of the papers written out in float64.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from scripts.comfy.locate import find
from tastemaker.loaders import applied_loras, lora_state, read_lora, with_lora
from tastemaker.loaders.lora.apply import merged_bias
from tastemaker.loaders.lora.kinds import butterfly, cayley
from tastemaker.loaders.lora.state import host_layers
from tests.conftest import GOLDENS, ROOT
from tests.loaders.lora_files import write


def _goldens() -> dict[str, dict[str, torch.Tensor]]:
    cases: dict[str, dict[str, torch.Tensor]] = {}
    with safe_open(GOLDENS / "lycoris.safetensors", framework="pt") as file:
        for key in file.keys():  # noqa: SIM118
            case, name = key.split("/", 1)
            cases.setdefault(case, {})[name] = file.get_tensor(key)
    return cases


CASES = _goldens()


def layer_of(tmp_path: Path, state: dict[str, torch.Tensor], name: str = "lora_unet_conv_in"):
    """The one layer of a file with this state."""
    path = write(tmp_path / "one.safetensors", {f"{name}.{n}": t for n, t in state.items()})
    (layer,) = read_lora(path).layers.values()
    return layer


def state_of(case: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix("state/"): t for n, t in CASES[case].items() if n.startswith("state/")}


@pytest.mark.parametrize("case", CASES)
def test_every_kind_is_what_lycoris_trained(tmp_path, case) -> None:
    """The weight at strength 1 is the one LyCORIS computes with, to 2e-6 of its largest number; and it changed."""
    golden = CASES[case]
    layer = layer_of(tmp_path, state_of(case))
    assert layer.fits(tuple(golden["before"].shape))
    found = layer.applied(golden["before"], 1.0)
    assert (found - golden["after"]).abs().max() <= 2e-6 * golden["after"].abs().max()
    assert (golden["after"] - golden["before"]).abs().max() > 0.02
    if "after_bias" in golden:
        bias = merged_bias(golden["before"], golden["bias"], [(1.0, layer)])
        assert (bias - golden["after_bias"]).abs().max() < 1e-6


@pytest.mark.parametrize("case", CASES)
def test_strength_is_a_straight_line(tmp_path, case) -> None:
    """W + s (adapted - W) for every kind, 0 and negative strengths and those above 1 too."""
    before, after = CASES[case]["before"], CASES[case]["after"]
    layer = layer_of(tmp_path, state_of(case))
    for strength in (-0.5, 0.0, 0.3, 2.0):
        expected = before.double() + strength * (after.double() - before.double())
        assert (layer.applied(before, strength).double() - expected).abs().max() <= 4e-6 * expected.abs().max()


@pytest.mark.parametrize("case", CASES)
def test_what_is_written_is_read_back(tmp_path, case) -> None:
    before = CASES[case]["before"]
    layer = layer_of(tmp_path, state_of(case))
    state = lora_state({("unet", "conv_in"): layer})
    again = read_lora(write(tmp_path / "again.safetensors", state)).layers["unet", "conv_in"]
    assert type(again) is type(layer)
    assert torch.equal(again.applied(before, 0.7), layer.applied(before, 0.7))


def test_one_layers_weight_is_not_changed_in_place(tmp_path) -> None:
    for case, golden in CASES.items():
        before = golden["before"].clone()
        layer_of(tmp_path, state_of(case)).applied(before, 1.0)
        assert torch.equal(before, golden["before"]), case


# --- ComfyUI ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """Largest difference to ComfyUI's own loader for every case and strength; see `lora_probe.py`."""
    assert find() is not None, "There is no ComfyUI yet: run `make demo` or set COMFYUI_PATH."
    command = [sys.executable, "-m", "tests.loaders.lora_probe", str(tmp_path_factory.mktemp("probe"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


# Where ComfyUI (0.3.75) computes something else than those who train the kind, ours agrees with them (above)
DIFFERS = {
    "dora-out": "it divides by the norm of the model's weight, not of the changed one",
    "oft-rescaled": "OFT's rescale is read and not used; here BOFT has a constraint too",
    "oft-constraint": "it takes the constraint by itself, not for each output channel",
    "ia3": "it does not read them",
    "lokr-tucker": "torch.kron refuses what it makes of the core, which is logged, and the weight stays as it was",
}


@pytest.mark.parametrize("case", [c for c in CASES if not any(mark in c for mark in DIFFERS)])
def test_every_kind_is_what_comfyui_computes(host, case) -> None:
    """At strength 1, and at others but for OFT and BOFT, where ComfyUI multiplies by the strength twice."""
    strengths = ["1.0"] if "oft" in case else ["1.0", "0.6", "-0.5"]
    for strength in strengths:
        assert host[case][strength] < 4e-6, strength


@pytest.mark.parametrize("case", [c for c in CASES if any(mark in c for mark in DIFFERS)])
def test_where_comfyui_differs(host, case) -> None:
    """When one of these agrees one day, ComfyUI has changed and the help page can say less."""
    assert host[case]["1.0"] > 1e-3, DIFFERS


def test_loras_that_comfyui_trains(host) -> None:
    """Of every algorithm of its Train LoRA node, on linear layers and convolutions, which it writes flattened."""
    assert {name.split("-")[0] for name in host["trained"]} >= {"LoRA", "LoHa", "LoKr", "OFT"}
    assert all(found["1.0"] < 4e-6 for found in host["trained"].values()), host["trained"]


def test_a_lora_trained_in_comfyui_keeps_its_constraint(tmp_path) -> None:
    """Its OFT limits the norm by alpha itself; LyCORIS by alpha for each output channel. The spelling tells."""
    blocks = torch.randn(4, 4, 4, generator=torch.Generator().manual_seed(1))
    state = {"oft_blocks": blocks, "alpha": torch.tensor(0.25)}
    assert layer_of(tmp_path, state).limit == 0.25 * 16
    assert layer_of(tmp_path, state, "diffusion_model.input_blocks.0.0").limit == 0.25


def test_what_comfyui_computes_otherwise_goes_there_as_a_difference(tmp_path, tiny_sdxl) -> None:
    """Those of DIFFERS, OFT and BOFT; the difference on top of an earlier LoRA gives what both give here."""
    odd = {case for case in CASES if not layer_of(tmp_path, state_of(case)).host_exact}
    assert odd == {case for case in CASES if "oft" in case or any(mark in case for mark in DIFFERS)}

    weight = tiny_sdxl.unet.conv_in.weight.detach()  # (64, 4, 3, 3)
    generator = torch.Generator().manual_seed(6)
    plain = {"lora_up.weight": torch.randn(64, 2, 1, 1, generator=generator) * 0.1}
    plain["lora_down.weight"] = torch.randn(2, 4, 3, 3, generator=generator) * 0.1
    dora = plain | {"dora_scale": torch.rand(64, 1, 1, 1, generator=generator) + 0.5}
    model = tiny_sdxl
    for state, strength in ((plain, 0.8), (dora, 0.6)):
        path = write(tmp_path / "lora.safetensors", {f"lora_unet_conv_in.{n}": t for n, t in state.items()})
        model = with_lora(model, read_lora(path), strength)
    (first,), (second,) = (host_layers(model, i).values() for i in (0, 1))
    assert first is model.loras[0].targets["unet", "conv_in"]
    there = (weight + 0.8 * first.added(weight).reshape(weight.shape)) + 0.6 * second.diff
    with applied_loras(model, ("unet",)):
        assert (tiny_sdxl.unet.conv_in.weight - there).abs().max() < 1e-6


# --- the papers ---------------------------------------------------------------------------------


def test_cayley_makes_rotations_and_keeps_its_limit() -> None:
    """R R^T = I; and within the limit R is what Q scaled to that norm gives, solved as a linear system in float64."""
    blocks = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(2))
    for limit in (0.0, 0.5):
        rotations = cayley(blocks, limit)
        assert (rotations @ rotations.transpose(1, 2) - torch.eye(4)).abs().max() < 1e-5
        q = (blocks - blocks.transpose(1, 2)).double()
        q = q * (limit / q.norm()) if limit else q
        expected = torch.linalg.solve(torch.eye(4) - q, torch.eye(4) + q, left=False)
        assert (rotations - expected).abs().max() < 1e-5
    assert torch.equal(cayley(blocks * 1e-3, 5.0), cayley(blocks * 1e-3, 0.0))


def test_butterfly_stages_by_hand() -> None:
    """Blocks of 2 on 4 outputs: the first stage turns (0, 1) and (2, 3), the second (0, 2) and (1, 3)."""
    swap, stay = torch.tensor([[0.0, 1.0], [-1.0, 0.0]]), torch.eye(2)
    weight = torch.arange(4.0).reshape(4, 1)
    first = butterfly(weight, torch.stack([torch.stack([swap, stay])]))
    assert first.flatten().tolist() == [1, 0, 2, 3]
    both = butterfly(weight, torch.stack([torch.stack([stay, stay]), torch.stack([swap, stay])]))
    assert both.flatten().tolist() == [2, 1, 0, 3]


def test_dora_by_the_paper(tmp_path) -> None:
    """Eq. 5 in float64: m (W + s BA) / |W + s BA|, one norm for each output, where peft's magnitudes stand."""
    generator = torch.Generator().manual_seed(3)
    weight, up, down = (torch.randn(s, generator=generator) for s in ((8, 5), (8, 2), (2, 5)))
    magnitude = torch.rand(8, generator=generator) + 0.5
    state = {"lora_B.weight": up, "lora_A.weight": down, "lora_magnitude_vector": magnitude}
    layer = layer_of(tmp_path, state, "unet.conv_in")
    changed = weight.double() + up.double() @ down.double()
    expected = magnitude.double()[:, None] * changed / (changed**2).sum(1).sqrt()[:, None]
    assert (layer.applied(weight, 1.0) - expected).abs().max() < 1e-6


def test_peft_magnitudes_of_a_convolution_are_for_the_outputs(tmp_path) -> None:
    """peft keeps them as (1, out, 1, 1), where LyCORIS keeps those of the inputs."""
    generator = torch.Generator().manual_seed(4)
    weight, up, down = (torch.randn(s, generator=generator) for s in ((6, 6, 3, 3), (6, 2, 1, 1), (2, 6, 3, 3)))
    magnitude = torch.rand(1, 6, 1, 1, generator=generator) + 0.5
    state = {"lora_B.default.weight": up, "lora_A.default.weight": down}
    layer = layer_of(tmp_path, state | {"lora_magnitude_vector.default.weight": magnitude}, "unet.conv_in")
    found = layer.applied(weight, 1.0)
    assert ((found**2).sum((1, 2, 3)).sqrt() - magnitude.flatten()).abs().max() < 1e-5


def test_old_glora_names(tmp_path) -> None:
    """LyCORIS before 2.0 called the matrices the other way round: W a2 a1 + b2 b1."""
    generator = torch.Generator().manual_seed(5)
    shapes = {"a1": (2, 5), "a2": (5, 2), "b1": (2, 5), "b2": (8, 2)}
    state = {n: torch.randn(s, generator=generator) for n, s in shapes.items()}
    weight = torch.randn(8, 5, generator=generator)
    layer = layer_of(tmp_path, {f"{n}.weight": t for n, t in state.items()} | {"alpha": torch.tensor(1.0)})
    a1, a2, b1, b2 = (state[n].double() for n in shapes)
    expected = weight.double() + (weight.double() @ a2 @ a1 + b2 @ b1) / 2
    assert (layer.applied(weight, 1.0) - expected).abs().max() < 1e-5
