"""Evaluate, FID and Report in a real ComfyUI server: figures, going on, the saved report, what is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from PIL import Image

from scripts.comfy.client import ComfyClient
from tests.evaluation.protocol_files import mjhq

PROMPTS = "a large red heart on a blue background\na small green ring on a white background"


def defaults(client: ComfyClient, node: str) -> dict[str, Any]:
    """A node's widgets as its page would send them."""
    spec = client.get("/object_info")[node]["input"]
    entries = {**spec.get("required", {}), **spec.get("optional", {})}
    return {name: entry[1]["default"] for name, entry in entries.items() if len(entry) > 1 and "default" in entry[1]}


def graph(client: ComfyClient, **changes: Any) -> dict[str, Any]:
    """Two models measured against four pictures, in one report."""
    values = {**defaults(client, "TastemakerEvaluate"), "steps": 2, "images_per_prompt": 2, "resamples": 2}
    wires = {"model": ["1", 0], "prompts": ["3", 0], "reward": ["2", 0], "reference": ["4", 0]}
    sample = {**defaults(client, "TastemakerSample"), "images_per_prompt": 2, "steps": 4, "seed": 90}
    return {
        "1": {"class_type": "TastemakerLoadModel", "inputs": {"model": "tiny-sdxl", "dtype": "auto"}},
        "2": {"class_type": "TastemakerLoadReward", "inputs": {"reward": "tiny-imagereward", "dtype": "auto"}},
        "3": {"class_type": "TastemakerPrompts", "inputs": {"text": PROMPTS}},
        "4": {"class_type": "TastemakerSample", "inputs": {**sample, "model": ["1", 0], "prompts": ["3", 0]}},
        "5": {"class_type": "TastemakerEvaluate", "inputs": {**values, **wires, "title": "two steps", **changes}},
        "6": {
            "class_type": "TastemakerEvaluate",
            "inputs": {**values, **wires, **changes, "title": "three steps", "steps": 3},
        },
        "7": {
            "class_type": "TastemakerReport",
            "inputs": {"before": ["5", 0], "after": ["6", 0], "filename_prefix": "study/shapes"},
        },
    }


def test_two_models_make_one_report(server: Any, client: ComfyClient) -> None:
    result = client.run(graph(client))
    assert result.status == "success", result.error
    text = result.outputs["7"]["text"][0]
    lines = [line for line in text.splitlines() if line.startswith("| overall")]
    assert [line.split(" | ")[1] for line in lines] == ["two steps", "three steps"]
    assert all(word in text for word in ("FID", "KID", "diversity", "tiny-imagereward", "after wins"))
    saved = server.base / "output" / "study"
    assert {p.suffix for p in saved.iterdir()} == {".html", ".json", ".md", ".png"}
    record = json.loads(next(saved.glob("*.json")).read_text())
    assert [m["about"]["pictures"] for m in record["models"]] == [4, 4]
    chart = Image.open(io.BytesIO(client.file(result.outputs["7"]["images"][0])))
    assert chart.width == 1200
    assert chart.height > 600  # the chart, and a sheet of each model below it
    runs = server.base / "output" / "tastemaker" / "evaluations"
    assert len(list((runs / "two steps").glob("*/pictures/*.png"))) == 4


def test_the_same_again_samples_nothing_and_another_setting_has_its_own_folder(
    server: Any, client: ComfyClient
) -> None:
    first = client.run(graph(client))
    assert first.status == "success", first.error
    runs = server.base / "output" / "tastemaker" / "evaluations" / "two steps"
    stamps = {p: p.stat().st_mtime_ns for p in runs.glob("*/pictures/*.png")}
    client.free()
    again = client.run(graph(client))
    assert again.status == "success", again.error
    assert {p: p.stat().st_mtime_ns for p in runs.glob("*/pictures/*.png")} == stamps
    other = graph(client)
    other["5"]["inputs"]["guidance_scale"] = 2.0
    assert client.run(other).status == "success"
    assert len({p.parent.parent for p in runs.glob("*/pictures/*.png")}) == 2


def test_fid_of_two_batches(server: Any, client: ComfyClient) -> None:
    prompt = graph(client)
    for name in ("5", "6", "7"):
        del prompt[name]
    other = {**prompt["4"]["inputs"], "seed": 7}
    prompt["8"] = {"class_type": "TastemakerSample", "inputs": other}
    fid = {**defaults(client, "TastemakerFID"), "images": ["4", 0], "reference": ["8", 0], "resamples": 2}
    prompt["9"] = {"class_type": "TastemakerFID", "inputs": fid}
    result = client.run(prompt)
    assert result.status == "success", result.error
    text = result.outputs["9"]["text"][0]
    assert "4 and 4 pictures, read by tiny-vision" in text
    assert "cannot have full rank" in text


def test_statistics_that_were_kept_serve_as_a_reference(server: Any, client: ComfyClient) -> None:
    assert client.run(graph(client)).status == "success"
    spec = client.get("/object_info/TastemakerFID")["TastemakerFID"]["input"]["optional"]["stored"]
    names = spec[0] if isinstance(spec[0], list) else spec[1]["options"]
    known = next(name for name in names if name.startswith("reference/"))
    prompt = graph(client)
    for name in ("5", "6", "7"):
        del prompt[name]
    fid = {**defaults(client, "TastemakerFID"), "images": ["4", 0], "stored": known, "resamples": 2}
    prompt["9"] = {"class_type": "TastemakerFID", "inputs": fid}
    result = client.run(prompt)
    assert result.status == "success", result.error
    text = result.outputs["9"]["text"][0]
    assert float(text.split()[1]) < 1e-6  # the very pictures they are of
    assert "no KID" in text
    for wrong in ({"reference": ["4", 0]}, {"stored": "none"}):
        prompt["9"]["inputs"] = {**fid, **wrong}
        assert "one" in str(client.run(prompt).error)
    prompt["9"]["inputs"] = {**fid, "stored": "../../x.safetensors"}
    assert "stored" in str(client.run(prompt).error)


def test_finished_files_of_a_protocol_go_to_their_prompts_by_name(server: Any, client: ComfyClient) -> None:
    folder = server.base / "input" / "mjhq"
    if not folder.exists():
        mjhq(folder, each=2)
    changes = {"protocol": "mjhq-30k", "folder": "input/mjhq", "images_per_prompt": 1, "images": ["8", 0]}
    prompt = graph(client, **changes)
    for name in ("3", "4", "6", "7"):
        del prompt[name]
    for wire in ("prompts", "reference", "model"):
        del prompt["5"]["inputs"][wire]
    loaded = {**defaults(client, "TastemakerLoadImages"), "folder": "input/mjhq/mjhq30k_imgs", "subfolders": True}
    prompt["8"] = {"class_type": "TastemakerLoadImages", "inputs": loaded}
    result = client.run(prompt)
    assert result.status == "success", result.error
    overall = next(line for line in result.outputs["5"]["text"][0].splitlines() if line.startswith("| overall"))
    assert float(overall.split(" | ")[3].split()[0]) < 1e-6  # against themselves: every one is where it belongs
    prompt["5"]["inputs"].update(protocol="own", folder="input/own")
    own = server.base / "input" / "own"
    own.mkdir(exist_ok=True)
    (own / "prompts.txt").write_text("\n".join(f"prompt {i}" for i in range(20)))
    assert "no file for prompt 1" in str(client.run(prompt).error)


def test_a_protocol_from_the_input_folder(server: Any, client: ComfyClient) -> None:
    folder = server.base / "input" / "mjhq"
    if not folder.exists():
        mjhq(folder, each=2)
    changes = {"protocol": "mjhq-30k", "folder": "input/mjhq", "count": 10, "height": 64, "width": 64, "steps": 1}
    prompt = graph(client, **changes, images_per_prompt=1)
    for name in ("3", "4", "6", "7"):
        del prompt[name]
    for wire in ("prompts", "reference"):
        del prompt["5"]["inputs"][wire]
    result = client.run(prompt)
    assert result.status == "success", result.error
    text = result.outputs["5"]["text"][0]
    assert sum(line.startswith("| ") for line in text.splitlines()) >= 12
    assert "against MJHQ-30K" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"title": "../x"}, "title"),
        ({"title": ""}, "title"),
        ({"title": "con"}, "title"),
        ({"protocol": "../x"}, "protocol"),
        ({"protocol": "mjhq-30k", "folder": "output/../.."}, "folder"),
        ({"protocol": "mjhq-30k", "folder": "input"}, "meta_data.json"),
        ({"features": "os.system"}, "features"),
        ({"features": "inception-v3"}, "curl"),
        ({"features": "none"}, "features"),
        ({"resize": "nearest"}, "resize"),
        ({"resamples": -1}, "resamples"),
        ({"images": ["4", 0]}, "model"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client: ComfyClient, changes: dict[str, Any], words: str) -> None:
    prompt = graph(client, **changes)
    for name in ("6", "7"):
        del prompt[name]
    assert words in client.refusal(prompt)
