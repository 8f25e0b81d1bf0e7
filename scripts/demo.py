"""The main job, headless: `make demo`.

Starts a real ComfyUI with this pack, runs `workflows/best_of_batch.json`, and leaves
`demo_output/ranked.png` and `demo_output/ranking.json`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .comfy.client import ComfyClient
from .comfy.graph import to_prompt
from .comfy.locate import ROOT
from .comfy.server import ComfyServer

WORKFLOW = ROOT / "workflows" / "best_of_batch.json"
OUTPUT = ROOT / "demo_output"
BAR = 30
SAVE_ALL = "save-all"
ALL_SCORES = 3  # place of that output on the Rank node


def say(text: str) -> None:
    print(f"[tastemaker] {text}", flush=True)


class Console:
    """Shows what the server does: one line a node, a bar while it works."""

    def __init__(self, workflow: dict[str, Any], names: dict[str, str]) -> None:
        self._titles = {str(n["id"]): names.get(n["type"], n["type"]) for n in workflow["nodes"]}
        self._live = sys.stdout.isatty()
        self._shown = ""

    def __call__(self, kind: str, data: dict[str, Any]) -> None:
        if kind == "executing" and data.get("node"):
            self._line(self._titles.get(data["node"], "Save Ranked"))
        elif kind == "progress" and self._live:
            filled = int(BAR * data["value"] / max(data["max"], 1))
            bar = "#" * filled + "." * (BAR - filled)
            print(
                f"\r[tastemaker]   {self._shown:<18} [{bar}] {data['value']}/{data['max']} ",
                end="",
                flush=True,
            )
        elif kind == "progress" and data["value"] * 4 % data["max"] < 4 and data["max"] >= 20:
            say(f"  {self._shown} {data['value']}/{data['max']}")

    def _line(self, title: str) -> None:
        if self._live and self._shown:
            print()
        self._shown = title
        if self._live:
            print(f"[tastemaker]   {title:<18}", end="", flush=True)
        else:
            say(f"  {title}")

    def end(self) -> None:
        if self._live:
            print()


def _run(base: Path) -> tuple[list[dict[str, Any]], bytes]:
    """Run the workflow; the whole ranking, each row with its file, and the sheet."""
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    say("starting ComfyUI")
    with ComfyServer(base) as server:
        client = ComfyClient(server.address)
        info = client.get("/object_info")
        names = {name: spec["display_name"] for name, spec in info.items()}
        if "TastemakerSample" not in info:
            raise SystemExit(f"[tastemaker] ComfyUI did not load the pack:\n{server.log[-3000:]}")
        say(f"running {WORKFLOW.name}")
        prompt = to_prompt(workflow, info)
        prompt[SAVE_ALL] = _save_all(prompt)
        console = Console(workflow, names)
        result = client.run(prompt, workflow=workflow, on_message=console, seconds=900)
        console.end()
        if result.status != "success":
            message = result.error.get("exception_message", result.status)
            raise SystemExit(f"[tastemaker] {result.error.get('node_type', 'the workflow')} failed: {message}")
        ranked = next(o for o in result.outputs.values() if "tastemaker_ranking" in o)
        sheet = client.file(ranked["tastemaker_sheet"][0])
        rows = ranked["tastemaker_ranking"]
        saved = result.outputs[SAVE_ALL]["images"]
        for row, entry in zip(rows, saved, strict=True):
            row["file"] = f"{OUTPUT.name}/pictures/{entry['filename']}"
        _copy_pictures(server.output, saved)
    return rows, sheet


def _save_all(prompt: dict[str, Any]) -> dict[str, Any]:
    """One more Save Ranked than the workflow has: it keeps the best, the demo's list has every picture."""
    rank = next(number for number, node in prompt.items() if node["class_type"] == "TastemakerRank")
    inputs = {"scores": [rank, ALL_SCORES], "filename_prefix": "tastemaker/all"}
    return {"class_type": "TastemakerSaveRanked", "inputs": inputs}


def _copy_pictures(output: Path, entries: list[dict[str, str]]) -> None:
    pictures = OUTPUT / "pictures"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    for entry in entries:
        shutil.copy2(output / entry["subfolder"] / entry["filename"], pictures)


def _print_ranking(rows: list[dict[str, Any]]) -> None:
    wide = max(len(row["prompt"]) for row in rows)
    print(f"\n{'rank':>4}  {'score':>7}  {'seed':>6}  {'prompt':<{wide}}  file")
    for row in rows:
        print(f"{row['rank']:>4}  {row['score']:>+7.3f}  {row['seed']:>6}  {row['prompt']:<{wide}}  {row['file']}")
    print()


def main() -> None:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tastemaker-") as base:
        rows, sheet = _run(Path(base))
    _print_ranking(rows)
    columns = ("rank", "score", "seed", "prompt", "file")
    (OUTPUT / "ranked.png").write_bytes(sheet)
    ranking = [{key: row[key] for key in columns} for row in rows]
    (OUTPUT / "ranking.json").write_text(json.dumps(ranking, indent=2) + "\n", encoding="utf-8")
    say(
        f"{OUTPUT.name}/ranked.png is the sheet, {OUTPUT.name}/ranking.json the list ({time.monotonic() - start:.0f} s)"
    )


if __name__ == "__main__":
    main()
