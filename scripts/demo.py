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

from .comfy.client import ComfyClient, RunResult
from .comfy.locate import ROOT
from .comfy.server import ComfyServer

WORKFLOW = ROOT / "workflows" / "best_of_batch.json"
OUTPUT = ROOT / "demo_output"
BAR = 30


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
            self._line(self._titles.get(data["node"], data["node"]))
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


def _run(base: Path) -> tuple[RunResult, list[dict[str, Any]], bytes]:
    """Run the workflow; its result, the whole ranking with the saved files, and the sheet."""
    workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    say("starting ComfyUI")
    with ComfyServer(base) as server:
        client = ComfyClient(server.address)
        info = client.get("/object_info")
        names = {name: spec["display_name"] for name, spec in info.items()}
        if "TastemakerSample" not in info:
            raise SystemExit(f"[tastemaker] ComfyUI did not load the pack:\n{server.log[-3000:]}")
        say(f"running {WORKFLOW.name}")
        console = Console(workflow, names)
        result = client.run_workflow(workflow, on_message=console, seconds=900)
        console.end()
        if result.status != "success":
            message = result.error.get("exception_message", result.status)
            raise SystemExit(f"[tastemaker] {result.error.get('node_type', 'the workflow')} failed: {message}")
        ranked = next(o for o in result.outputs.values() if "tastemaker_ranking" in o)
        saved = next(o for o in result.outputs.values() if "tastemaker_files" in o)
        sheet = client.file(ranked["images"][0])
        rows = ranked["tastemaker_ranking"]
        files = [entry["filename"] for entry in saved["images"]]
        for row, name in zip(rows, [*files, *[None] * len(rows)], strict=False):
            row["file"] = name and f"pictures/{name}"
        _copy_pictures(server.output, saved["images"])
    return result, rows, sheet


def _copy_pictures(output: Path, entries: list[dict[str, str]]) -> None:
    pictures = OUTPUT / "pictures"
    shutil.rmtree(pictures, ignore_errors=True)
    pictures.mkdir(parents=True)
    for entry in entries:
        shutil.copy2(output / entry["subfolder"] / entry["filename"], pictures)


def _print_ranking(rows: list[dict[str, Any]]) -> None:
    print(f"\n{'rank':>4}  {'score':>7}  {'seed':>6}  {'file':<44}  prompt")
    for row in rows:
        kept = row["file"] or "-"
        print(f"{row['rank']:>4}  {row['score']:>+7.3f}  {row['seed']:>6}  {kept:<44}  {row['prompt']}")
    print()


def main() -> None:
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tastemaker-") as base:
        _, rows, sheet = _run(Path(base))
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
