"""`python -m scripts.acceptance` on made-up files of the official formats: what passes, what fails, what it says."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from scripts.acceptance import diffusion, loras, pipelines, rewards
from scripts.acceptance.__main__ import main, models_folder
from scripts.acceptance.check import FAILED, NO_REFERENCE, NOT_FOUND, PASSED, Check, Measured, Result, Settings
from scripts.acceptance.found import PUBLISHED, named, origin, places, published
from scripts.acceptance.registry import CHECKS
from scripts.acceptance.report import markdown
from scripts.acceptance.run import Workers, results
from tests.conftest import ROOT
from tests.evaluation.conftest import inception_file  # noqa: F401
from tests.official import broken_checks
from tests.official.manifest import MODELS
from tests.official.models_folder import write_diffusion, write_inception, write_lora, write_rewards
from tests.rewards.official_files import HEAD
from tests.rewards.test_clip_rewards import hps_folder, open_clip_model

INCEPTION = "weights-inception-2015-12-05-6726825d.pth"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, inception_file: Path) -> Path:  # noqa: F811
    root = tmp_path_factory.mktemp("ComfyUI") / "models"
    hps_folder(write_rewards(root / "rewards"), open_clip_model())
    write_inception(root / "rewards" / "fid" / INCEPTION, inception_file)
    write_diffusion(root)
    write_lora(root / "loras" / "mine" / "style.safetensors", root / "diffusers" / "playground-v2-1024px-aesthetic")
    (root / "checkpoints" / "notes.safetensors").write_text("<html>")
    return root


@pytest.fixture(scope="module")
def run(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The command line once, as people run it."""
    report = tmp_path_factory.mktemp("said") / "report.md"
    command = [sys.executable, "-m", "scripts.acceptance", str(models), "--device", "cpu", "--report", str(report)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert report.is_file(), done.stderr
    text = report.read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")][2:]
    return SimpleNamespace(code=done.returncode, out=done.stdout, report=text, rows={row[1]: row for row in rows})


def test_a_wrong_imagereward_fails_the_published_example(run: Any) -> None:
    """And it is the only one that fails: the others are compared with other code on the same weights."""
    assert run.code == 1
    failed = [name for name, row in run.rows.items() if "failed" in row[0]]
    assert failed == ["ImageReward, ocean"]
    assert "ImageReward.pt" in run.report
    assert "the ranking is" in run.report


@pytest.mark.parametrize(
    "check",
    ["CLIP score", "PickScore", "HPS v2.1", "BLIP score", "SDXL folder", "DDPM folder", "SDXL single file"],
)
def test_a_stand_in_passes_what_other_code_can_check(run: Any, check: str) -> None:
    if check == "HPS v2.1":
        pytest.importorskip("open_clip")
    assert run.rows[check][0] == "passed", run.out


def test_the_real_head_passes_and_is_known_by_its_hash(run: Any) -> None:
    assert run.rows["LAION aesthetic head"][0] == "passed"
    assert "the official file of christophschuhmann/improved-aesthetic-predictor" in run.report


def test_fid_is_that_of_torch_fidelity_where_there_is_one(run: Any) -> None:
    there = (ROOT / ".venv" / "references" / "torch_fidelity").is_dir()
    assert run.rows["FID"][0] == (PASSED if there else NO_REFERENCE)


def test_a_lora_is_compared_where_peft_is_installed(run: Any) -> None:
    import importlib.util

    expected = PASSED if importlib.util.find_spec("peft") else NO_REFERENCE
    assert run.rows["LoRA"][0] == expected
    assert "moves the picture by up to" in run.out


def test_a_dora_in_kohyas_names_is_not_held_against_a_plain_lora(models: Path, tmp_path: Path) -> None:
    """diffusers drops the magnitudes with a warning, so its picture says nothing of ours."""
    state = load_file(models / "loras" / "mine" / "style.safetensors")
    for key in [key for key in state if key.endswith(".lora_up.weight")]:
        state[key.replace("lora_up.weight", "dora_scale")] = torch.full((len(state[key]), 1), 2.0)
    save_file(state, tmp_path / "dora.safetensors")
    found = loras.lora(tmp_path / "dora.safetensors", Settings(models))
    assert found.status == NO_REFERENCE, found
    assert any("DoRA" in note for note in found.notes)


def test_the_report_says_what_was_not_there_and_what_is_not_official(run: Any) -> None:
    assert run.rows["SDXL refiner folder"][0] == "not found"
    for file in ("ImageReward.pt", "sd_xl_base_1.0.safetensors", INCEPTION, "unet/diffusion_pytorch_model.fp16"):
        assert re.search(rf"{re.escape(file)}.*NOT the official file", run.report), file
    assert "Not of a kind that is checked: notes.safetensors" in run.report
    assert "commit " in run.report
    assert f"torch {torch.__version__}" in run.report
    assert "GiB of memory" in run.report


# --- each check can fail ----------------------------------------------------------------------


def test_the_ocean_passes_with_the_published_numbers_only() -> None:
    right = list(rewards.REWARDS)
    assert rewards.ocean_of([1, 2, 3, 4], right).status == PASSED
    assert rewards.ocean_of([1, 2, 3, 4], [r + 0.02 for r in right]).status == FAILED
    assert rewards.ocean_of([2, 1, 3, 4], right).status == FAILED
    assert rewards.ocean_of([1, 2, 3, 4], [float("nan"), *right[1:]]).status == FAILED


@pytest.mark.parametrize("layer", [0, 2, 4, 6, 7])
def test_a_head_with_one_other_layer_fails(tmp_path: Path, layer: int) -> None:
    state = torch.load(HEAD, map_location="cpu", weights_only=True)
    state[f"layers.{layer}.weight"] *= 1.001
    torch.save(state, tmp_path / HEAD.name)
    assert rewards.head(tmp_path / HEAD.name, Settings(tmp_path)).status == FAILED
    assert rewards.head(HEAD, Settings(tmp_path)).status == PASSED


@pytest.mark.parametrize("name", ["clip_score", "pickscore", "hps", "blip"])
def test_a_reward_that_computes_something_else_fails(models: Path, monkeypatch: Any, name: str) -> None:
    files = {"clip_score": "clip-vit-large-patch14", "pickscore": "PickScore_v1"}
    files |= {"hps": "HPS_v2.1_compressed.pt", "blip": "model_large.pth"}
    if name == "hps":
        pytest.importorskip("open_clip")
    true = rewards.scores_of
    monkeypatch.setattr(rewards, "scores_of", lambda *given: true(*given) * 1.01 + 1e-3)
    assert getattr(rewards, name)(models / "rewards" / files[name], Settings(models)).status == FAILED


@pytest.mark.parametrize("spare", [False, True], ids=["float32", "kept in float16"])
def test_a_model_that_is_loaded_wrongly_fails(models: Path, monkeypatch: Any, spare: bool) -> None:
    folder, settings = models / "diffusers" / "playground-v2-1024px-aesthetic", Settings(models, spare=spare)
    assert diffusion.folder(folder, settings).status == PASSED
    true = pipelines.load_ours

    def wrongly(*given: Any) -> Any:
        model = true(*given)
        model.unet.conv_out.weight.data.mul_(2)  # these made-up networks do little: 1% moves 1e-5
        return model

    monkeypatch.setattr(diffusion, "load_ours", wrongly)
    assert diffusion.folder(folder, settings).status == FAILED


def test_pictures_that_compare_nothing_fail() -> None:
    flat, how = torch.full((1, 8, 8, 3), 0.5), pipelines.Precision(torch.float32, False)
    assert diffusion.compared(flat, flat, how, Settings(Path())).status == FAILED
    assert diffusion.compared(flat * float("nan"), flat * float("nan"), how, Settings(Path())).status == FAILED
    assert Measured(float("nan"), 1.0, "").status == FAILED


# --- the runner and what it finds -------------------------------------------------------------


def test_a_check_that_raises_or_dies_ends_no_other(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"weights")
    everything = broken_checks.everything
    checks = [Check(name, "", everything, "", getattr(broken_checks, name)) for name in ("raises", "dies", "passes")]
    checks.append(Check("lost", "", broken_checks.unreadable, "", broken_checks.passes))
    checks.append(Check("absent", "", lambda models: [], "a file called x", broken_checks.passes))
    workers = Workers()
    try:
        rows = {row.check: row for row in results(checks, Settings(tmp_path), workers)}
    finally:
        workers.close()
    assert {name: row.status for name, row in rows.items()} == {
        **{"raises": FAILED, "dies": FAILED, "passes": PASSED, "lost": FAILED, "absent": NOT_FOUND},
    }
    assert "what is wrong with a.bin" in rows["raises"].notes[0]
    assert "Traceback" in rows["raises"].details
    assert "no memory left" in rows["dies"].notes[0]
    assert "no such disk" in rows["lost"].details
    text = markdown(list(rows.values()), Settings(tmp_path), [])
    assert "**failed**" in text
    assert "what is wrong with a.bin" in text
    assert "a file called x" in text


def test_names_from_the_disk_stay_in_their_cell() -> None:
    row = Result("LoRA", "loras/a|b\n# c`d<img>.safetensors", FAILED, files=("x\ny",))
    text = markdown([row], Settings(Path("m")), [])
    assert "| loras/a\\|b # c'd&lt;img>.safetensors |" in text


def test_files_are_found_in_sub_folders_and_loops_end(tmp_path: Path) -> None:
    deep = tmp_path / "rewards" / "people" / "clip-vit-large-patch14"
    deep.mkdir(parents=True)
    assert named(tmp_path / "rewards", ["clip-vit-large-patch14"]) is None  # an empty folder is none
    (deep / "config.json").write_text("{}")
    (deep / "again").symlink_to(tmp_path / "rewards", target_is_directory=True)
    assert named(tmp_path / "rewards", ["other", "clip-vit-large-patch14"]) == deep
    assert len(list(places(tmp_path / "rewards"))) == 4


def test_a_file_of_an_official_name_is_told_from_the_official_file(tmp_path: Path) -> None:
    assert "the official file of christoph" in origin(HEAD, HEAD)
    other = tmp_path / HEAD.name
    other.write_bytes(HEAD.read_bytes()[:-1] + b"!")
    assert "NOT the official file" in origin(other, other)
    other = tmp_path / "mine.safetensors"
    other.write_bytes(b"x")
    assert "no published sha256 is known" in origin(other, other)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["{tmp}"], "holds none of rewards"),
        (["{tmp}/nowhere"], "holds none of rewards"),
        (["{tmp}/models", "--only", "Inception"], "the checks are ImageReward, ocean"),
        (["{tmp}/models", "--device", "cuda:77"], "cannot be used"),
        (["{tmp}/models", "--report", "{tmp}/no/r.md"], "cannot be written"),
    ],
)
def test_wrong_arguments_end_in_words(tmp_path: Path, given: list[str], said: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "x" / "models" / "loras").mkdir(parents=True)
    root = {"{tmp}": empty} if given == ["{tmp}"] else {"{tmp}": tmp_path / "x"}
    filled = [word.replace("{tmp}", str(root["{tmp}"])) for word in given]
    with pytest.raises(SystemExit, match=re.escape(said)):
        main(["--report", str(tmp_path / "r.md"), *filled])
    assert not (tmp_path / "r.md").exists()


def test_the_comfyui_folder_stands_for_its_models(tmp_path: Path) -> None:
    (tmp_path / "ComfyUI" / "models" / "loras").mkdir(parents=True)
    assert models_folder(tmp_path / "ComfyUI") == (tmp_path / "ComfyUI" / "models").resolve()


# --- the lists --------------------------------------------------------------------------------


def test_published_lines_are_whole_and_agree_with_the_manifest() -> None:
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file, delimiter="\t")) == ["repository", "file", "bytes", "sha256"]
    assert len({(line.repository, line.file) for line in published()}) == len(published())
    for line in published():
        assert re.fullmatch(r"[0-9a-f]{64}|", line.sha256), line
        assert bool(line.size) == bool(line.sha256), line
    sizes = {(line.repository, line.file): line.size for line in published()}
    for official in MODELS:
        for file, size in official.weights.items():
            known = sizes.get((official.repository, file), 0)
            assert not known or not size or known == size, file


def test_every_check_is_in_the_help() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.compares and check.wanted.startswith("models/") for check in CHECKS)
