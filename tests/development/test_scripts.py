"""The development scripts' own logic: requirements, graph conversion, finding ComfyUI."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import bootstrap
from scripts.bootstrap import without_torch
from scripts.comfy import locate
from scripts.comfy.graph import to_prompt, widget_names

INFO = {
    "Load": {"input": {"required": {"name": [["a", "b"], {}]}}, "output": ["MODEL"], "output_name": ["model"]},
    "Make": {
        "input": {
            "required": {
                "model": ["MODEL", {}],
                "seed": ["INT", {"control_after_generate": True}],
                "text": ["STRING", {"forceInput": True}],
            },
            "optional": {"steps": ["INT", {}]},
        },
    },
}


def test_requirements_without_the_torch_family() -> None:
    text = "torch\ntorchvision\ntorchaudio\ntorchsde\n# a comment\nnumpy>=1.25.0  # why\n\n"
    assert without_torch(text) == ["torchsde", "numpy>=1.25.0"]


def test_a_python_that_cannot_make_environments_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(folder: Path, with_pip: bool) -> None:
        (folder / "bin").mkdir(parents=True)
        raise subprocess.CalledProcessError(1, ["ensurepip"])

    monkeypatch.setattr(bootstrap, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(bootstrap, "venv", SimpleNamespace(create=half))
    with pytest.raises(SystemExit, match="apt install python3"):
        bootstrap.make_environment()
    assert not (tmp_path / ".venv").exists()  # so that the next try starts anew


def test_widgets_in_the_order_the_page_saves_them() -> None:
    assert widget_names(INFO["Make"]) == ["seed", None, "steps"]


def test_a_saved_graph_becomes_a_prompt() -> None:
    workflow = {
        "nodes": [
            {"id": 1, "type": "Load", "widgets_values": ["b"]},
            {
                "id": 2,
                "type": "Make",
                "inputs": [{"name": "model", "link": 7}, {"name": "text", "link": None}],
                "widgets_values": [5, "fixed", 20],
            },
            {"id": 3, "type": "MarkdownNote", "widgets_values": ["hello"]},
            {"id": 4, "type": "Load", "mode": 2, "widgets_values": ["a"]},
        ],
        "links": [[7, 1, 0, 2, 0, "MODEL"]],
    }
    assert to_prompt(workflow, INFO) == {
        "1": {"class_type": "Load", "inputs": {"name": "b"}},
        "2": {"class_type": "Make", "inputs": {"seed": 5, "steps": 20, "model": ["1", 0]}},
    }


def test_a_workflow_that_does_not_fit_the_code_fails_loudly() -> None:
    with pytest.raises(ValueError, match="shorter"):
        to_prompt({"nodes": [{"id": 1, "type": "Load", "widgets_values": []}], "links": []}, INFO)


def test_comfyui_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "main.py").touch()
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    assert locate.find() == tmp_path
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit, match="no main.py"):
        locate.find()


def test_a_pack_in_custom_nodes_uses_the_comfyui_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack = tmp_path / "custom_nodes" / "tastemaker"
    pack.mkdir(parents=True)
    (tmp_path / "main.py").touch()
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.setattr(locate, "ROOT", pack)
    assert locate.find() == tmp_path
