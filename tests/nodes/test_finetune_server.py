"""Fine-Tune, Reward Curve and Compare in a real ComfyUI server."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from scripts.comfy.client import SAVE_LORA, ComfyClient, RunResult

PROMPTS = "a large red heart on a blue background\na small green ring on a white background"


def settings(info: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Fine-Tune Settings' own defaults, as its page would send them, with changes."""
    spec = info["TastemakerFineTuneSettings"]["input"]["required"]
    values = {
        name: entry[1].get("default", entry[0][0] if isinstance(entry[0], list) else None)
        for name, entry in spec.items()
    }
    assert set(changes) <= set(values)
    return values | changes


def graph(
    client: ComfyClient, *, run_name: str, settings_changes: dict[str, Any] | None = None, **changes: Any
) -> dict[str, Any]:
    """Load, fine-tune for two epochs of four pictures, draw the curve, save the LoRA."""
    small = {"group_size": 2, "guidance_scale": 2.0, "updates_per_epoch": 2, "sample_every": 1, "targets": "attention"}
    on_node = {"epochs": 2, "samples_per_epoch": 4, "steps": 3, "learning_rate": 1e-3, "rank": 4, "seed": 5}
    tune = {"model": ["1", 0], "reward": ["2", 0], "prompts": ["3", 0], "settings": ["4", 0]}
    tune |= {"run_name": run_name, "preset": "from settings", **on_node, **changes}
    values = settings(client.get("/object_info"), **{**small, **(settings_changes or {})})
    return {
        "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": "auto"}},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-imagereward", "dtype": "auto"}},
        "3": {"class_type": "TastemakerPrompts", "inputs": {"text": PROMPTS}},
        "4": {"class_type": "TastemakerFineTuneSettings", "inputs": values},
        "5": {"class_type": "TastemakerFineTune", "inputs": tune},
        "6": {"class_type": "TastemakerRewardCurve", "inputs": {"report": ["5", 3], "title": ""}},
        "7": {
            "class_type": client.node_id(*SAVE_LORA),
            "inputs": {"lora": ["5", 1], "prefix": f"loras/{run_name}", "steps": 0},
        },
    }


def runs(server: Any) -> Path:
    return server.base / "output" / "tastemaker" / "runs"


def records(server: Any, run_name: str) -> list[dict[str, Any]]:
    lines = (runs(server) / run_name / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def last_message(result: RunResult) -> dict[str, Any]:
    return result.outputs["5"]["tastemaker_training"][0]


def test_a_run_from_the_graph(server, client) -> None:
    told: list[dict[str, Any]] = []

    def listen(kind: str, data: dict[str, Any]) -> None:
        if kind == "tastemaker.training":
            told.append(data)

    result = client.run(graph(client, run_name="first"), on_message=listen)
    assert result.status == "success", result.error
    assert told[0]["state"] == "starting"
    assert {m["node"] for m in told} == {"5"}
    # at the start, after each epoch what it adds, at the end all
    assert [(m["since"], [r["epoch"] for r in m["rows"]]) for m in told if "rows" in m] == [
        (0, []), (0, [1]), (1, [2]), (0, [1, 2])
    ]  # fmt: skip
    assert [[g["epoch"] for g in m["grids"]] for m in told if "rows" in m] == [[], [0, 1], [2], [0, 1, 2]]
    phases = {m["state"].split()[0] for m in told}  # within an epoch at most two a second, so a fast machine has none
    assert (
        {"starting", "learned", "done"}
        <= phases
        <= {"starting", "before", "sampling", "scoring", "learning", "samples", "learned", "done"}
    )
    shown = last_message(result)
    assert shown["state"] == "done"
    assert [g["epoch"] for g in shown["grids"]] == [0, 1, 2]
    picture = Image.open(io.BytesIO(client.file(shown["grids"][-1]["entry"])))
    assert np.asarray(picture).std() > 10
    assert [r["epoch"] for r in records(server, "first")] == [1, 2]
    values = [value for value, total in result.progress if total == 2000]  # Fine-Tune's bar, not Load's
    assert values == sorted(values)
    assert values[-1] == 2000


def test_matching_runs_from_the_graph_by_a_scheduler_without_noise(server, client) -> None:
    spec = client.get("/object_info")["TastemakerFineTuneSettings"]["input"]
    assert {"matching_form", "timesteps_per_picture", "reference_weight"} <= set(spec["optional"])  # older graphs run
    prompt = graph(client, run_name="matched", settings_changes={"algorithm": "matching", "scheduler": "dpmpp_2m"})
    prompt["4"]["inputs"] |= {"timesteps_per_picture": 3}
    result = client.run(prompt)
    assert result.status == "success", result.error
    rows = records(server, "matched")
    assert [(row["algorithm"], row["pairs"] + row["dropped"]) for row in rows] == [("matching", 12)] * 2
    assert rows[0]["error"] > 0
    names = [figure["name"] for figure in last_message(result)["figures"]]
    assert names[:2] == ["loss", "error"]


def climbing(client: ComfyClient, run_name: str, reward: str, **changes: Any) -> dict[str, Any]:
    """The same graph by a preset, which chooses the algorithm, with another reward and without comparisons."""
    prompt = graph(client, run_name=run_name, preset="CPU", **changes)
    prompt["4"]["inputs"] |= {"guard": "off"}
    prompt["2"]["inputs"]["reward"] = reward
    return prompt


@pytest.mark.parametrize("model", ["tiny-sdxl", "tiny-ddpm"])
def test_auto_climbs_the_gradient_of_a_reward_that_looks_at_the_picture_alone(server, client, model: str) -> None:
    prompt = climbing(client, f"climbed {model}", "tiny-aesthetic")
    prompt["1"]["inputs"]["model"] = model
    if model == "tiny-ddpm":
        del prompt["5"]["inputs"]["prompts"]
    result = client.run(prompt)
    assert result.status == "success", result.error
    rows = records(server, f"climbed {model}")
    assert [row["algorithm"] for row in rows] == ["reward_gradient"] * 2
    assert all(row["grad_norm"] > 0 for row in rows)


def test_the_gradient_of_a_combined_reward_that_reads_prompts_can_be_asked_for(server, client) -> None:
    prompt = climbing(client, "climbed both", "tiny-imagereward", algorithm="reward_gradient")
    prompt["8"] = {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-aesthetic", "dtype": "auto"}}
    names = client.get("/object_info")["TastemakerCombineRewards"]["input"]["required"]
    values = {k: v[1]["default"] for k, v in names.items() if len(v) > 1 and "default" in v[1]}
    both = {"reward_1": ["2", 0], "reward_2": ["8", 0]}
    prompt["9"] = {"class_type": "TastemakerCombineRewards", "inputs": {**values, **both, "mode": "standardised"}}
    prompt["5"]["inputs"]["reward"] = ["9", 0]
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert [row["algorithm"] for row in records(server, "climbed both")] == ["reward_gradient"] * 2


def test_its_lora_is_on_disk_and_on_the_wire(server, client) -> None:
    client.run(graph(client, run_name="first"))  # from the cache, or where the test above was not run
    with safe_open(runs(server) / "first" / "lora.safetensors", "np") as own:
        names = set(own.keys())
        assert own.metadata()["ss_network_dim"] == "4"
    saved = sorted((server.base / "output" / "loras").glob("first*.safetensors"))
    with safe_open(saved[0], "np") as file:
        assert set(file.keys()) == names
    assert len(names) % 3 == 0  # up, down and alpha of each layer
    assert any(name.endswith(".lora_up.weight") for name in names)


def test_more_epochs_go_on_and_a_finished_run_is_not_trained_again(server, client) -> None:
    first = client.run(graph(client, run_name="longer", epochs=1))
    assert first.status == "success", first.error
    before = records(server, "longer")
    samples = runs(server) / "longer" / "samples"
    (samples / "epoch-000001 (1).png").write_bytes((samples / "epoch-000001.png").read_bytes())  # somebody's own copy
    again = client.run(graph(client, run_name="longer", epochs=3))
    assert again.status == "success", again.error
    assert [g["epoch"] for g in last_message(again)["grids"]] == [0, 1, 2, 3]
    after = records(server, "longer")
    assert [r["epoch"] for r in after] == [1, 2, 3]
    assert after[0] == before[0]
    client.free()
    stamp = (runs(server) / "longer" / "lora.safetensors").stat().st_mtime_ns
    third = client.run(graph(client, run_name="longer", epochs=3))
    assert third.status == "success", third.error
    assert "5" not in third.cached
    assert records(server, "longer") == after
    assert (runs(server) / "longer" / "lora.safetensors").stat().st_mtime_ns == stamp


def test_cancel_keeps_whole_epochs_and_the_next_run_ends_as_if_never_cancelled(server, client) -> None:
    def cancel(kind: str, data: dict[str, Any]) -> None:
        within = data["state"].startswith(("sampling", "learning")) if kind == "tastemaker.training" else False
        if within and data["epoch"] == 2:
            client.interrupt()

    slow = {"samples_per_epoch": 8, "steps": 6}  # the page is told twice a second: an epoch must take longer
    stopped = client.run(graph(client, run_name="cancelled", **slow), on_message=cancel)
    assert stopped.status == "interrupted"
    assert [r["epoch"] for r in records(server, "cancelled")] == [1]
    assert client.run(graph(client, run_name="cancelled", **slow)).status == "success"
    assert client.run(graph(client, run_name="never cancelled", **slow)).status == "success"
    timeless = [
        [{k: v for k, v in r.items() if k != "seconds"} for r in records(server, n)]
        for n in ("cancelled", "never cancelled")
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"run_name": "../x"}, "run_name"),
        ({"run_name": "con"}, "run_name"),
        ({"run_name": "a/b"}, "run_name"),
        ({"run_name": ""}, "run_name"),
        ({"preset": "16 TB"}, "preset"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"samples_per_epoch": 5}, "samples_per_epoch"),
        ({"settings_changes": {"eta": 0.0}}, "eta"),
        ({"settings_changes": {"scheduler": "pndm"}}, "scheduler: "),  # matching alone takes it
        ({"settings_changes": {"window_start": 0.9, "window_stop": 0.5}}, "window_start"),
    ],
)
def test_bad_settings_are_named(client, changes: dict[str, Any], words: str) -> None:
    changes = {"run_name": "bad"} | changes
    assert words in client.refusal(graph(client, **changes))


def with_held_out(prompt: dict[str, Any]) -> dict[str, Any]:
    """A graph of Fine-Tune with prompts and a reward that it does not train on."""
    prompt["8"] = {"class_type": "TastemakerPrompts", "inputs": {"text": "a small pink moon on a white background"}}
    prompt["9"] = {
        "class_type": "TastemakerLoadReward",
        "inputs": {"reward": "jpeg-compressibility", "dtype": "auto"},
    }
    prompt["5"]["inputs"] |= {"held_out_prompts": ["8", 0], "watched_reward": ["9", 0]}
    return prompt


def test_comparisons_on_prompts_and_a_reward_that_are_not_trained_on(server, client) -> None:
    changes = {"evaluate_every": 1, "evaluate_samples": 2, "sample_every": 0}
    prompt = with_held_out(graph(client, run_name="compared", epochs=1, settings_changes=changes))
    result = client.run(prompt)
    assert result.status == "success", result.error
    [record] = records(server, "compared")
    assert record["evaluation"]["held_out_prompts"]
    assert list(record["evaluation"]["rewards"]) == ["tiny-imagereward", "watched: jpeg-compressibility"]
    refused = client.run(with_held_out(graph(client, run_name="not compared", epochs=1)))
    assert "held_out_prompts: No comparison is made that would use it" in refused.error["exception_message"]


def test_another_model_or_prompt_in_the_same_run_is_refused(client) -> None:
    assert client.run(graph(client, run_name="taken", epochs=1)).status == "success"
    other = graph(client, run_name="taken", epochs=2)
    other["3"]["inputs"]["text"] = "a pink moon"
    result = client.run(other)
    assert result.status == "error"
    assert "prompts" in result.error["exception_message"]


def test_before_and_after_are_compared(server, client) -> None:
    prompt = graph(client, run_name="first")
    sample = {"prompts": ["3", 0], "negative_prompt": "", "images_per_prompt": 2, "seed": 9, "scheduler": "ddim"}
    sample |= {"steps": 3, "guidance_scale": 2.0, "eta": 0.0, "height": 0, "width": 0, "denoise": 1.0}
    for name, source in (("1", "8"), ("5", "10")):
        prompt[source] = {"class_type": "TastemakerSample", "inputs": {"model": [name, 0], **sample}}
        scored = {"images": [source, 0], "prompts": [source, 1], "reward": ["2", 0]}
        prompt[str(int(source) + 1)] = {"class_type": "TastemakerScore", "inputs": scored}
    prompt["12"] = {"class_type": "TastemakerCompare", "inputs": {"before": ["9", 0], "after": ["11", 0], "pairs": 4}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert "after wins" in result.outputs["12"]["text"][0]
    sheet = Image.open(io.BytesIO(client.file(result.outputs["12"]["images"][0])))
    assert sheet.width >= 760


def test_an_unconditional_model_learns_from_what_its_pictures_are_compared_with(server, client) -> None:
    prompt = graph(client, run_name="unconditional", epochs=1, settings_changes={"guidance_scale": 1.0})
    prompt["1"]["inputs"]["model"] = "tiny-ddpm"
    prompt["3"]["inputs"]["text"] = "a large red circle on a white background"
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert records(server, "unconditional")[0]["pictures"] == 4


def test_a_full_fine_tune_samples_what_it_learned(server, client) -> None:
    """The host places the policy, and the base that KL compares with, and then the tuned network."""
    changes = {"train": "full", "kl_weight": 0.01, "sample_every": 0}
    prompt = graph(client, run_name="full", epochs=1, learning_rate=1e-4, settings_changes=changes)
    del prompt["7"]  # there is no LoRA to save
    sample = {"prompts": ["3", 0], "negative_prompt": "", "images_per_prompt": 1, "seed": 9, "scheduler": "ddim"}
    sample |= {"steps": 2, "guidance_scale": 2.0, "eta": 0.0, "height": 0, "width": 0, "denoise": 1.0}
    prompt["8"] = {"class_type": "TastemakerSample", "inputs": {"model": ["5", 0], **sample}}
    prompt["9"] = {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}
    result = client.run(prompt)
    assert result.status == "success", result.error
    assert records(server, "full")[0]["kl"] > 0
    assert not (runs(server) / "full" / "lora.safetensors").exists()
    assert np.asarray(Image.open(io.BytesIO(client.file(result.outputs["9"]["images"][0])))).std() > 10


@pytest.mark.parametrize("text", [None, PROMPTS])
def test_an_unconditional_model_needs_one_text_for_a_reward_that_reads(client, text: str | None) -> None:
    prompt = graph(client, run_name="unread", epochs=1)
    prompt["1"]["inputs"]["model"] = "tiny-ddpm"
    if text is None:
        del prompt["5"]["inputs"]["prompts"]
    result = client.run(prompt)
    assert result.status == "error"
    assert "prompts" in result.error["exception_message"]


def test_the_page_keeps_the_defaults_of_small_numbers(client) -> None:
    """The page shows a FLOAT with as many digits as its step has, and rounds to them."""
    for name, spec in client.get("/object_info").items():
        if not name.startswith("Tastemaker"):
            continue
        for section in ("required", "optional"):
            for field, (kind, *options) in spec["input"].get(section, {}).items():
                if kind == "FLOAT":
                    steps = options[0]["default"] / options[0]["step"]
                    assert steps == pytest.approx(round(steps), abs=1e-6), (name, field)
