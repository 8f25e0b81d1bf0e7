"""Whole runs: figures, categories, resuming, processes, broken files, the report, the command line."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from tastemaker.core.errors import InputError, ModelFileError
from tastemaker.core.shares import Share
from tastemaker.evaluation.__main__ import main
from tastemaker.evaluation.blocks import BLOCK, StoredFeatures
from tastemaker.evaluation.evaluate import evaluate
from tastemaker.evaluation.fid.features import load_extractor, read_features
from tastemaker.evaluation.fid.statistics import load_statistics
from tastemaker.evaluation.measures import FeatureTensor, distances, diversity, feature_set, mean_interval, means
from tastemaker.evaluation.protocols import PromptRow, read_protocol
from tastemaker.evaluation.references import Reference, protocol_reference
from tastemaker.evaluation.report.content import make_report
from tastemaker.evaluation.report.page import report_page
from tastemaker.evaluation.report.save import save_report
from tastemaker.evaluation.result import Evaluation
from tastemaker.evaluation.run import Run, features_folder
from tastemaker.evaluation.settings import EvaluationSettings
from tastemaker.evaluation.sources import GivenPictures, NamedFiles, SampledPictures
from tastemaker.images.convert import to_pil
from tastemaker.images.pictures import TensorPictures
from tastemaker.rewards import Reward
from tastemaker.sampling.settings import SampleOptions, SampleSettings
from tests.conftest import ROOT
from tests.evaluation.protocol_files import coco, mjhq, picture
from tests.recorded import Recorded

COUNT = 2 * BLOCK + 12
SETTINGS = EvaluationSettings(kid_subsets=5, kid_subset_size=10, resamples=3)
ROWS = [PromptRow(str(i), f"prompt {i // 2}", ("even", "odd")[i % 2]) for i in range(COUNT)]


def brightness(images: torch.Tensor, prompts: Any) -> torch.Tensor:
    return images.mean((1, 2, 3))


BRIGHT = Reward("brightness", brightness, False, "0 to 1.", "f" * 16)


@pytest.fixture(scope="module")
def tiny():
    return load_extractor("tiny-vision")


def batch(count: int, seed: int, level: float = 0.5) -> TensorPictures:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 3, 4, 4, generator=generator) * level
    return TensorPictures(torch.nn.functional.interpolate(small, (16, 16), mode="bilinear").permute(0, 2, 3, 1))


def folder_of(root: Path, pictures: TensorPictures) -> NamedFiles:
    root.mkdir(parents=True)
    for i in range(len(pictures)):
        to_pil(pictures.picture(i)).save(root / f"{i:03d}.png")
    return NamedFiles(root, tuple(f"{i:03d}.png" for i in range(len(pictures))))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> NamedFiles:
    return folder_of(tmp_path_factory.mktemp("pictures") / "p", batch(COUNT, 0))


def run(folder: Path, source: Any, tiny: Any, **more: Any) -> Evaluation | None:
    reference = Reference("others", GivenPictures(batch(40, 1)), ("even",) * 20 + ("odd",) * 20)
    what = {"extractor": tiny, "reference": reference, "rewards": [BRIGHT], "settings": SETTINGS}
    what |= {name: more.pop(name) for name in what if name in more}
    return evaluate(Run("mine", ROWS, source, folder, "Own prompts", **what), **more)


def figures(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())["sections"]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, files: NamedFiles, tiny: Any) -> tuple[Path, Evaluation]:
    folder = tmp_path_factory.mktemp("run")
    return folder, run(folder, files, tiny)


def test_figures_of_the_whole_and_of_categories(done: tuple[Path, Evaluation]) -> None:
    _, result = done
    assert list(result.sections) == ["overall", "even", "odd"]
    assert list(result.sections["even"]) == ["FID", "KID x1000", "brightness"]
    assert [result.sections[s]["FID"].count for s in result.sections] == [COUNT, COUNT // 2, COUNT // 2]
    values = result.table.scores["brightness"]
    assert result.sections["overall"]["brightness"].value == pytest.approx(float(values.mean()), rel=1e-6)
    assert result.sections["odd"]["brightness"].value == pytest.approx(float(values[1::2].mean()), rel=1e-6)
    assert any("cannot have full rank" in note for note in result.notes)
    assert not result.broken


def test_two_processes_find_the_same_to_the_last_bit(
    tmp_path: Path, done: tuple[Path, Evaluation], files: NamedFiles, tiny: Any
) -> None:
    assert run(tmp_path, files, tiny, share=Share(1, 2)) is None
    assert run(tmp_path, files, tiny, share=Share(0, 2)) is not None
    assert figures(tmp_path) == figures(done[0])


def test_jobs_without_a_leader_are_put_together_by_a_last_call(
    tmp_path: Path, done: tuple[Path, Evaluation], files: NamedFiles, tiny: Any
) -> None:
    for rank in range(3):
        assert run(tmp_path, files, tiny, share=Share(rank, 3, gathers=False)) is None
    assert not (tmp_path / "result.json").exists()
    run(tmp_path, files, tiny)
    assert figures(tmp_path) == figures(done[0])


def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, done: tuple[Path, Evaluation], files: NamedFiles, tiny: Any
) -> None:
    class Stop(Exception):
        pass

    def stop(phase: str, at: int, total: int) -> None:
        if at > BLOCK:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path, files, tiny, progress=Recorded(stop))
    kept = features_folder(tmp_path, tiny) / "000000.safetensors"
    before = kept.stat().st_mtime_ns
    assert not (kept.parent / "000001.safetensors").exists()
    run(tmp_path, files, tiny)
    assert kept.stat().st_mtime_ns == before
    assert figures(tmp_path) == figures(done[0])


def test_a_damaged_block_is_made_again(
    tmp_path: Path, done: tuple[Path, Evaluation], files: NamedFiles, tiny: Any
) -> None:
    run(tmp_path, files, tiny)
    block = features_folder(tmp_path, tiny) / "000001.safetensors"
    block.write_bytes(block.read_bytes()[:100])
    scores = next((tmp_path / "scores").glob("*/000002.json"))
    scores.write_text("{")
    half = block.with_name(".000001.safetensors.abc.part")  # what a kill in the middle of writing leaves
    half.write_bytes(b"x")
    run(tmp_path, files, tiny)
    assert figures(tmp_path) == figures(done[0])
    assert not half.exists()


def test_another_reward_costs_only_itself(done: tuple[Path, Evaluation], files: NamedFiles, tiny: Any) -> None:
    progress = Recorded()
    red = replace(BRIGHT, name="red", score=lambda images, prompts: images[..., 0].mean((1, 2)), fingerprint="e" * 16)
    result = run(done[0], files, tiny, rewards=[BRIGHT, red], progress=progress)
    assert {p for p in progress.phases if not p.startswith(("FID", "KID"))} == {"scoring with red", "measuring"}
    assert {"brightness", "red"} <= set(result.sections["odd"])


def test_a_folder_of_another_run_is_refused(done: tuple[Path, Evaluation], tiny: Any) -> None:
    with pytest.raises(InputError, match="another"):
        run(done[0], GivenPictures(batch(COUNT, 5)), tiny)


def test_batches_change_nothing_but_rounding(tiny: Any, files: NamedFiles) -> None:
    pictures = files.open(range(20)).pictures
    whole = read_features(pictures, tiny, batch_size=20).features
    for size in (1, 7):
        assert torch.allclose(read_features(pictures, tiny, batch_size=size).features, whole, rtol=1e-4, atol=1e-5)


def test_broken_files_are_named_counted_and_in_no_figure(tmp_path: Path, tiny: Any) -> None:
    source = folder_of(tmp_path / "p", batch(COUNT, 0))
    whole = (source.root / "003.png").read_bytes()
    (source.root / "003.png").write_bytes(whole[: len(whole) // 2])
    (source.root / "070.png").write_bytes(b"<html>")
    (source.root / "139.png").unlink()
    result = run(tmp_path / "run", source, tiny)
    assert [name for name, _ in result.broken] == ["picture 4 (3)", "picture 71 (70)", "picture 140 (139)"]
    assert result.sections["overall"]["FID"].count == result.sections["overall"]["brightness"].count == COUNT - 3
    assert result.about["pictures"] == COUNT - 3
    assert "3 pictures left out" in make_report([result]).text


def test_empty_and_one_picture_sets(tmp_path: Path, tiny: Any) -> None:
    one = [PromptRow("1", "x")]
    with pytest.raises(InputError, match="as many pictures"):
        evaluate(Run("x", one, NamedFiles(tmp_path, ()), tmp_path / "a", extractor=tiny))
    reference = Reference("others", GivenPictures(batch(5, 1)))
    single = GivenPictures(batch(1, 0))
    with pytest.raises(InputError, match="at least two"):
        evaluate(Run("x", one, single, tmp_path / "b", extractor=tiny, reference=reference))
    found = evaluate(Run("x", one, single, tmp_path / "c", rewards=[BRIGHT]))
    assert found.sections["overall"]["brightness"].count == 1
    assert make_report([found]).record["models"][0]["sections"]["overall"]["brightness"]["low"] is None
    asking = replace(BRIGHT, needs_prompt=True)
    with pytest.raises(InputError, match="none|have none"):
        evaluate(Run("x", [PromptRow("1", " ")], single, tmp_path / "d", rewards=[asking]))


def test_pictures_of_different_sizes_are_measured(tmp_path: Path, tiny: Any) -> None:
    tmp_path.joinpath("p").mkdir()
    for i, size in enumerate([(16, 16), (200, 30), (31, 64), (64, 64)]):
        Image.new("RGB", size, (60 * i, 100, 30)).save(tmp_path / "p" / f"{i}.png")
    source = NamedFiles(tmp_path / "p", tuple(f"{i}.png" for i in range(4)))
    rows = [PromptRow(str(i), "x") for i in range(4)]
    reference = Reference("others", GivenPictures(batch(9, 1)))
    what = {"extractor": tiny, "reference": reference, "rewards": [BRIGHT], "settings": SETTINGS}
    found = evaluate(Run("x", rows, source, tmp_path / "run", **what))
    assert found.sections["overall"]["FID"].count == 4


def test_stored_statistics_serve_as_a_reference(done: tuple[Path, Evaluation], tmp_path: Path, tiny: Any) -> None:
    folder, result = done
    file = next((folder / "reference").glob("*/statistics.safetensors"))
    known = load_statistics(file)
    files = NamedFiles(tmp_path, ())
    assert known.count == 40
    assert not len(files)
    again = run(tmp_path / "run", GivenPictures(batch(COUNT, 0)), tiny, reference=Reference("s", known))
    # the same pictures, decoded from nothing: rounding of the network aside
    assert again.sections["overall"]["FID"].value == pytest.approx(result.sections["overall"]["FID"].value, rel=1e-3)
    assert "KID x1000" not in again.sections["overall"]
    assert any("statistics alone" in note for note in again.notes)


def test_features_are_read_in_flat_memory(done: tuple[Path, Evaluation], tiny: Any) -> None:
    stored = StoredFeatures(features_folder(done[0], tiny), COUNT)
    order = [139, 0, 64, 63, 128, 5, 5]
    rows = torch.cat(list(stored.batches()))
    assert torch.equal(stored.rows(order), rows[order])
    assert rows.shape == (COUNT, tiny.features)


def test_diversity_by_hand() -> None:
    """At right angles: 1. The same picture twice: 0. A prompt with one picture counts for nothing."""
    rows = FeatureTensor(torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0], [1.0, 1.0], [0.0, 1.0]]))
    found = diversity(rows, ["a", "a", "b", "b", "c"])
    assert found.value == pytest.approx(0.5)
    assert (found.low, found.high) == (0.0, 2.0)  # t(1) = 12.7: no interval of two prompts says more
    assert diversity(FeatureTensor(torch.eye(2)), ["a", "b"]) is None


def test_means_have_students_interval() -> None:
    """1, 2, 3: mean 2, standard deviation 1, t(2) = 4.303: 2 +- 4.303 / sqrt 3 = 2.484."""
    found = mean_interval([1.0, 2.0, 3.0])
    assert (found.value, found.low, found.count) == (2.0, pytest.approx(2 - 2.484, abs=1e-3), 3)


def test_pictures_of_one_prompt_are_no_independent_ones() -> None:
    """Three prompts, each picture twice: the interval of the three, not a narrower one of six."""
    values, prompts = [1.0, 1.0, 2.0, 2.0, 3.0, 3.0], ["a", "a", "b", "b", "c", "c"]
    three, six = mean_interval([1.0, 2.0, 3.0]), mean_interval(values, groups=prompts)
    assert (six.low, six.high) == pytest.approx((three.low, three.high))
    assert mean_interval(values, groups=["a"] * 6) == mean_interval(values)  # of one prompt: over its pictures
    found = means({"r": values}, ["x"] * 6, prompts)
    assert found["overall"]["r"] == six


def test_progress_is_told_of_every_resample_so_that_a_cancel_works(tiny: Any) -> None:
    class Cancelled(Exception):
        pass

    sets = [feature_set(FeatureTensor(torch.rand(30, 4)), [""] * 30, {}) for _ in range(2)]
    progress = Recorded()
    distances(*sets, EvaluationSettings(resamples=3, kid_subsets=2, kid_subset_size=5), progress)
    fid, kid = ([(name, i + 1, n) for i in range(n)] for name, n in (("FID, overall", 3), ("KID x1000, overall", 2)))
    assert progress.seen == [*fid, *kid]

    def cancel(phase: str, done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        distances(*sets, EvaluationSettings(), Recorded(cancel))


def test_stored_statistics_say_what_they_were_made_of(done: tuple[Path, Evaluation], tiny: Any) -> None:
    about = load_statistics(done[0] / f"statistics-{tiny.key}.safetensors").about
    assert (about["title"], about["protocol"]) == ("mine", "Own prompts")
    assert about["of"]["count"] == COUNT


def test_a_reference_of_one_picture_is_refused_before_any_work(tmp_path: Path, files: NamedFiles, tiny: Any) -> None:
    with pytest.raises(InputError, match="at least two"):
        run(tmp_path / "run", files, tiny, reference=Reference("one", GivenPictures(batch(1, 1))))
    assert not (tmp_path / "run").exists()


def test_sampled_pictures_are_the_samplers_and_resume(tmp_path: Path, tiny_sdxl: Any) -> None:
    from tastemaker.sampling import sample

    prompts = ("a red circle", "a blue star on a white background", "a red circle")
    source = SampledPictures(
        tiny_sdxl, tmp_path / "pictures", prompts, (7, 8, 9), SampleSettings(steps=2, guidance_scale=3.0)
    )
    rows = [PromptRow(str(i), prompt) for i, prompt in enumerate(prompts)]
    found = evaluate(Run("tiny", rows, source, tmp_path, rewards=[BRIGHT], settings=SETTINGS))
    wanted = sample(tiny_sdxl, prompts, seeds=(7, 8, 9), steps=2, guidance_scale=3.0, scheduler="ddim").images
    for i in range(3):
        assert (found.table.pictures.picture(i) - wanted[i]).abs().max() <= 0.51 / 255
    assert found.table.seeds == (7, 8, 9)
    (tmp_path / "pictures" / "000001.png").unlink()
    times = [(tmp_path / "pictures" / f"{i:06d}.png").stat().st_mtime_ns for i in (0, 2)]
    source.make(range(3))
    assert [(tmp_path / "pictures" / f"{i:06d}.png").stat().st_mtime_ns for i in (0, 2)] == times
    other = replace(source, settings=SampleSettings(steps=3, guidance_scale=3.0))
    with pytest.raises(InputError, match="steps"):
        evaluate(Run("tiny", rows, other, tmp_path, rewards=[BRIGHT]))


OPTIONS_BEFORE_SPACING = {
    **{"guidance_rescale": 0.0, "refiner_start": 0.8, "aesthetic_score": 6.0, "negative_aesthetic_score": 2.5},
    **{"original_height": 0, "original_width": 0, "crop_top": 0, "crop_left": 0},
    **{"vae_tiling": "off", "at_once": 0, "speed": "exact"},
}


def test_an_evaluation_of_a_version_with_fewer_options_goes_on(tmp_path: Path, tiny_sdxl: Any) -> None:
    """What was sampled before an option existed was sampled as its default samples."""
    rows = [PromptRow("0", "a red circle")]
    source = SampledPictures(
        tiny_sdxl, tmp_path / "pictures", ("a red circle",), (7,), SampleSettings(steps=1), SampleOptions()
    )
    # as the node's folder is named after it: a field that is new may not change it
    assert source.identity()["options"] == OPTIONS_BEFORE_SPACING
    assert " ".join(source.identity()["sampling"]) == "scheduler steps guidance_scale eta height width denoise"
    evaluate(Run("tiny", rows, source, tmp_path, rewards=[BRIGHT]))
    made = (tmp_path / "pictures" / "000000.png").stat().st_mtime_ns
    config = json.loads((tmp_path / "config.json").read_text())
    for group, name in (("options", "speed"), ("options", "at_once"), ("sampling", "denoise")):
        del config["identity"]["source"][group][name]
    (tmp_path / "config.json").write_text(json.dumps(config))
    evaluate(Run("tiny", rows, source, tmp_path, rewards=[BRIGHT]))
    assert (tmp_path / "pictures" / "000000.png").stat().st_mtime_ns == made
    for options in (SampleOptions(timestep_spacing="trailing"), SampleOptions(at_once=2), None):
        other = replace(source, options=options)
        with pytest.raises(InputError, match="another (timestep_spacing|at_once|options)"):
            evaluate(Run("tiny", rows, other, tmp_path, rewards=[BRIGHT]))


def test_an_evaluation_that_states_a_new_option_goes_on(tmp_path: Path, tiny_sdxl: Any) -> None:
    """One version wrote timestep_spacing at its default too."""
    rows = [PromptRow("0", "a red circle")]
    source = SampledPictures(
        tiny_sdxl, tmp_path / "pictures", ("a red circle",), (7,), SampleSettings(steps=1), SampleOptions()
    )
    evaluate(Run("tiny", rows, source, tmp_path, rewards=[BRIGHT]))
    config = json.loads((tmp_path / "config.json").read_text())
    config["identity"]["source"]["options"]["timestep_spacing"] = "model"
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert evaluate(Run("tiny", rows, source, tmp_path, rewards=[BRIGHT])) is not None


@pytest.mark.parametrize("name", ["mjhq-30k", "coco-2014"])
def test_protocols_run_on_folders_of_the_real_layout(tmp_path: Path, tiny: Any, name: str) -> None:
    folder = {"mjhq-30k": mjhq, "coco-2014": coco}[name](tmp_path / "data")
    rows = read_protocol(name, folder)
    reference = protocol_reference(name, folder, tmp_path / "reference")
    mine = tmp_path / "mine"
    mine.mkdir()
    for i in range(len(rows)):
        picture(i + 500).save(mine / f"{i:06d}.png")
    source = NamedFiles(mine, tuple(f"{i:06d}.png" for i in range(len(rows))))
    what = {"extractor": tiny, "reference": reference, "rewards": [BRIGHT], "settings": SETTINGS}
    found = evaluate(Run("mine", rows, source, tmp_path / "run", **what))
    assert found.sections["overall"]["FID"].value > 0
    assert len(found.sections) == (11 if name == "mjhq-30k" else 1)


# --- reports ----------------------------------------------------------------------------------


def two(done: tuple[Path, Evaluation], title: str = "theirs") -> list[Evaluation]:
    first = done[1]
    table = replace(first.table, seeds=tuple(range(COUNT)))
    better = replace(table, scores={n: c + 0.01 for n, c in table.scores.items()})
    sections = {s: {n: replace(e, value=e.value + 1) for n, e in v.items()} for s, v in first.sections.items()}
    return [replace(first, table=table), replace(first, title=title, table=better, sections=sections)]


def test_the_report_has_a_row_a_section_and_model(done: tuple[Path, Evaluation], tmp_path: Path) -> None:
    models = two(done)
    report = make_report(models)
    lines = report.text.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:8]] == [
        [f"| {section}", title] for section in ("overall", "even", "odd") for title in ("mine", "theirs")
    ]
    assert report.pairs[0].win_rate.value == 1.0
    written = save_report(report, models, tmp_path)
    assert {p.suffix for p in written} == {".html", ".json", ".md", ".png"}
    record = json.loads((tmp_path / "report.json").read_text())
    assert [m["title"] for m in record["models"]] == ["mine", "theirs"]
    with Image.open(tmp_path / "report_chart.png") as chart:
        chart.load()
    assert chart.width == 1200
    assert len(report.sheets) == 2 * len(models[0].table.scores)


def test_hostile_titles_prompts_and_categories_stay_text(done: tuple[Path, Evaluation]) -> None:
    evil = '<img src=x onerror="alert(1)">|\n</style><script>'
    models = two(done, evil)
    table = replace(models[1].table, prompts=(evil,) * COUNT)
    sections = {evil if s == "odd" else s: v for s, v in models[1].sections.items()}
    models[1] = replace(models[1], table=table, sections=sections, notes=(evil,), broken=((evil, evil),))
    page = report_page(make_report(models), models)
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("</style>") == 1
    assert "script-src" not in page
    assert "default-src 'none'" in page


def test_what_was_measured_differently_is_not_put_into_one_table(done: tuple[Path, Evaluation]) -> None:
    models = two(done)
    with pytest.raises(InputError, match="measured with another"):
        make_report([models[0], replace(models[1], about={**models[1].about, "reference": "else"})])
    with pytest.raises(InputError, match="protocol"):
        make_report([models[0], replace(models[1], protocol="MJHQ-30K")])
    more = replace(models[1], about={**models[1].about, "asked": COUNT + 1})
    assert "different numbers of pictures" in make_report([models[0], more]).text
    with pytest.raises(InputError, match="same name"):
        make_report([models[0], models[0]])
    with pytest.raises(InputError, match="no figures"):
        make_report([])


# --- the command line -------------------------------------------------------------------------


def plan_file(folder: Path) -> Path:
    mjhq(folder / "data", each=2)
    for name, shift in (("one", 0), ("two", 50)):
        (folder / name).mkdir()
        for i in range(20):
            picture(i + 300 + shift).save(folder / name / f"{i:06d}.png")
    plan = {
        "protocol": "mjhq-30k",
        "folder": "data",
        "models": [{"title": "first", "pictures": "one"}, {"title": "second", "pictures": "two"}],
        "features": "tiny-vision",
        "rewards": ["jpeg-compressibility"],
        "settings": {"resamples": 2, "kid_subsets": 2, "kid_subset_size": 5},
        "output": "study",
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder / "plan.json"


def test_the_command_line_writes_a_report_and_says_what_is_wrong(tmp_path: Path, caplog: Any) -> None:
    plan = plan_file(tmp_path)
    assert main([str(plan), "--device", "cpu"]) == 0
    record = json.loads((tmp_path / "study" / "report.json").read_text())
    assert [m["title"] for m in record["models"]] == ["first", "second"]
    assert set(record["models"][0]["sections"]["food"]) == {"FID", "KID x1000", "jpeg-compressibility"}
    (tmp_path / "data" / "meta_data.json").write_text("{}")
    assert main([str(plan), "--device", "cpu"]) == 2
    assert "meta_data.json" in caplog.text


def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """COCO's layout sampled with the embedded model; SIGKILL while pictures are being written."""
    found = []
    for name in ("killed", "whole"):
        folder = tmp_path / name
        coco(folder / "data", 36)
        plan = {
            "protocol": "coco-2014",
            "folder": "data",
            "models": [{"title": "tiny", "model": "tiny-sdxl"}],
            "sampling": {"steps": 1, "height": 64, "width": 64, "guidance_scale": 1.0},
            "features": "tiny-vision",
            "rewards": ["tiny-imagereward"],
            "settings": {"resamples": 2, "kid_subsets": 2, "kid_subset_size": 5},
            "output": "study",
        }
        (folder / "plan.json").write_text(json.dumps(plan))
        command = [sys.executable, "-m", "tastemaker.evaluation", str(folder / "plan.json"), "--device", "cpu"]
        pictures = folder / "study" / "tiny" / "pictures"
        if name == "killed":
            process = subprocess.Popen(command, cwd=ROOT.parent, stderr=subprocess.DEVNULL)
            while process.poll() is None and len(list(pictures.glob("*.png"))) < 2:
                time.sleep(0.02)
            process.kill()
            process.wait()
            assert 2 <= len(list(pictures.glob("*.png"))) < 36
        assert main(command[3:]) == 0
        found.append(figures(folder / "study" / "tiny"))
    assert found[0] == found[1]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Every leaf of nested lists and dicts by its path."""
    if not isinstance(value, dict | list):
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return {k: v for key, inner in items for k, v in flat(inner, f"{name}/{key}").items()}


def test_two_real_processes_write_the_same_report(tmp_path: Path) -> None:
    single, both = tmp_path / "single", tmp_path / "both"
    for folder in (single, both):
        folder.mkdir()
        plan_file(folder)
    assert main([str(single / "plan.json"), "--device", "cpu"]) == 0
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "tastemaker.evaluation", str(both / "plan.json"), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.parent, timeout=570)
    assert done.returncode == 0, done.stderr[-2000:]
    reports = [json.loads((folder / "study" / "report.json").read_text()) for folder in (single, both)]
    for one in reports:
        for model in one["models"]:
            del model["about"]  # names the files' times
    one, two = (flat(report) for report in reports)
    assert one.keys() == two.keys()
    for name, value in one.items():  # threads and parts round differently
        assert two[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value), name


def test_features_of_a_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="features"):
        load_extractor("os.system")
    with pytest.raises(InputError, match="resize"):
        load_extractor("tiny-vision", resize="nearest")
    with pytest.raises(ModelFileError, match="curl"):
        load_extractor("inception-v3", folders=[tmp_path])


def test_inception_measures_a_run(tmp_path: Path, inception_file: Path) -> None:
    """The whole path with the network of the real layout: 2048 features of 6 pictures."""
    extractor = load_extractor("inception-v3", folders=[inception_file.parent])
    assert extractor.fingerprint == load_extractor("inception-v3", folders=[inception_file.parent]).fingerprint
    rows = [PromptRow(str(i), "x") for i in range(3)]
    reference, settings = Reference("others", GivenPictures(batch(3, 1))), EvaluationSettings(resamples=0)
    what = {"extractor": extractor, "reference": reference, "settings": settings}
    found = evaluate(Run("x", rows, GivenPictures(batch(3, 0)), tmp_path, **what))
    assert found.sections["overall"]["FID"].value > 0
    assert found.about["features"]["resize"] == "clean"
