"""Run inside a process of its own, with the host's modules: what Fine-Tune makes of presets, and of a linked folder.

Prints one JSON object; `test_finetune.py` reads it. Argument: a folder that is reached through a link.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from scripts.comfy.inside import enter

ON_NODE = {"epochs": 2, "samples_per_epoch": 32, "steps": 8, "learning_rate": 1e-3, "rank": 4, "seed": 0}


def presets() -> dict[str, Any]:
    """The settings that differ from the defaults, of presets on models of several sizes."""
    from tastemaker.nodes.finetune import merged
    from tastemaker.training import DDPOConfig

    def kind(native: int, conditional: bool = True) -> Any:
        return SimpleNamespace(native_size=(native, native), conditional=conditional)

    def made(preset: str, model: Any, **changes: Any) -> dict[str, Any]:
        usual = asdict(DDPOConfig())
        found = asdict(merged(preset, DDPOConfig(**changes), dict(ON_NODE), model))
        return {k: v for k, v in found.items() if v != usual[k] and k not in ON_NODE}

    return {
        "sdxl": made("8 GB", kind(1024)),
        "sdxl 256": made("24 GB", kind(256)),
        "tiny": made("8 GB", kind(64)),
        "church": made("24 GB", kind(256, conditional=False)),
        "CPU": made("CPU", kind(64)),
        "CPU matching": made("CPU", kind(64), algorithm="matching"),
        "24 GB matching": made("24 GB", kind(1024), algorithm="matching"),
        "CPU changed": made("CPU", kind(64), guidance_scale=7.0, window_start=0.6, learn_from=0.25),
        "from settings": made("from settings", kind(64), guidance_scale=7.0),
    }


def algorithms(folder: Path) -> dict[str, str]:
    """What the algorithm widget comes to."""
    from tastemaker.nodes.finetune import chosen_algorithm
    from tastemaker.training import DDPOConfig

    base = {"guidance_embedding": None, "scheduler_config": {}, "loras": ()}
    usual, turbo = SimpleNamespace(name="sdxl", **base), SimpleNamespace(name="sdxl_turbo", **base)
    text, looks = (SimpleNamespace(differentiable=True, needs_prompt=reads) for reads in (True, False))
    jpeg = SimpleNamespace(differentiable=False, needs_prompt=False)
    begun, old = folder / "begun", folder / "old"
    for path, settings in ((begun, {"algorithm": "score"}), (old, {"rank": 4})):
        path.mkdir()
        (path / "config.json").write_text(json.dumps({"identity": {"settings": settings}}))

    def found(asked: str, preset: str, model: Any, reward: Any, run: Path = folder / "none", **changes: Any) -> str:
        settings = DDPOConfig(**changes) if changes else None
        return chosen_algorithm(asked, preset, settings, model, reward, run).get("algorithm", "")

    return {
        "reads the prompt": found("auto", "24 GB", usual, text),
        "looks alone": found("auto", "24 GB", usual, looks),
        "looks alone, small card": found("auto", "8 GB", usual, looks),
        "no gradient": found("auto", "CPU", usual, jpeg),
        "distilled": found("auto", "24 GB", turbo, text),
        "on the node": found("clipped", "24 GB", usual, looks),
        "in the settings": found("auto", "24 GB", usual, looks, algorithm="matching"),
        "from settings": found("auto", "from settings", usual, looks),
        "begun": found("auto", "24 GB", usual, looks, begun),
        "begun long ago": found("auto", "24 GB", usual, looks, old),
    }


def linked(folder: Path) -> dict[str, str]:
    """What the page is told of a grid of a run, the output folder being a link."""
    import folder_paths

    from tastemaker.nodes import host

    folder_paths.set_output_directory(str(folder))
    grid = host.run_folder("my taste") / "samples" / "epoch-000001.png"
    return {"through the link": host.saved_entry(folder / "a.png"), "of a run": host.saved_entry(grid)}


def main() -> None:
    enter()
    from tastemaker.nodes.finetune import ON_NODE as on_node

    sys.stdout.write(
        json.dumps(
            {
                "presets": presets(),
                "algorithms": algorithms(Path(sys.argv[1])),
                "linked": linked(Path(sys.argv[1])),
                "on_node": on_node,
            }
        )
    )


if __name__ == "__main__":
    main()
