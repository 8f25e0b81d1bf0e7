"""Ranking past one machine: shared out, resumed at any kill, the same whoever did it."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tastemaker.core.errors import InputError
from tastemaker.core.shares import Share
from tastemaker.images.folder import read_folder
from tastemaker.ranking.scale import run
from tastemaker.ranking.scale.parts import Row, is_done, part_path, read_part, write_part
from tastemaker.ranking.scale.plan import Plan, read_plan
from tastemaker.ranking.scale.run import rank_plan
from tastemaker.rewards import load_reward
from tests.ranking.scale_files import png, write_folder, write_plan, write_shard


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def ranked(folder: Path, **options: Any) -> list[dict[str, str]]:
    rank_plan(read_plan(folder / "plan.json"), **options)
    return rows(folder / "out" / "scores.csv")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Eleven pictures in a folder, one of them broken, and two shards of three with captions."""
    write_folder(tmp_path / "pictures", 10)
    (tmp_path / "pictures" / "broken.png").write_bytes(b"no picture")
    for s in range(2):
        members = {f"{i}.{e}": d for i in range(3) for e, d in (("png", png(100 + 3 * s + i)), ("txt", b"a dog"))}
        write_shard(tmp_path / "shards" / f"s{s}.tar", members)
    write_plan(tmp_path, pictures=["pictures", "shards"])
    return tmp_path


def test_scores_are_those_of_scoring_the_same_files_by_themselves(mixed: Path) -> None:
    found = {row["name"]: row for row in ranked(mixed)}
    pictures = read_folder(mixed / "pictures").pictures
    reward = load_reward("jpeg-compressibility")
    wanted = reward.picture_columns([pictures.decode(i) for i in range(10)], "")["jpeg-compressibility"].tolist()
    for i, score in enumerate(wanted):
        assert float(found[pictures.name(i)]["jpeg-compressibility"]) == pytest.approx(score, abs=1e-6)
    assert found["s1.tar/2.png"]["prompt"] == "a dog"
    assert "PNG" in found["broken.png"]["problem"]
    assert found["broken.png"]["jpeg-compressibility"] == ""
    assert len(found) == 17


def test_pictures_of_one_name_in_two_folders_keep_their_own_scores(tmp_path: Path) -> None:
    """A picture whose pixels end too early is found out only when it is decoded."""
    for folder, level in (("a", 1), ("b", 2)):
        write_folder(tmp_path / "pictures" / folder, 1)
        (tmp_path / "pictures" / folder / "p0.png").write_bytes(png(level, (64, 64)))
    whole = (tmp_path / "pictures" / "a" / "p0.png").read_bytes()
    (tmp_path / "pictures" / "a" / "p0.png").write_bytes(whole[:5000] + bytes(1000) + whole[6000:])
    write_plan(tmp_path)
    found = {row["name"]: row for row in ranked(tmp_path)}
    assert found["a/p0.png"]["problem"]
    assert found["b/p0.png"]["jpeg-compressibility"]


def test_the_best_are_kept_as_they_were_from_folders_and_shards(mixed: Path) -> None:
    every = ranked(mixed)
    wanted = sorted((r for r in every if r["jpeg-compressibility"]), key=lambda r: -float(r["jpeg-compressibility"]))
    best = json.loads((mixed / "out" / "best" / "best_ranking.json").read_text())
    names = [row["name"] for row in best]
    assert names == [row["name"].rpartition("/")[2] for row in wanted[:3]]
    assert len(list((mixed / "out" / "best").glob("best_0*.png"))) == 3


def test_top_k_of_each_prompt(mixed: Path) -> None:
    write_plan(mixed, pictures=["pictures", "shards"], group_by="prompt", top_k=2)
    ranked(mixed)
    assert len(list((mixed / "out" / "best").glob("best_0*.png"))) == 4


@pytest.mark.parametrize("world", [2, 3])
def test_several_jobs_give_what_one_gives(mixed: Path, world: int) -> None:
    alone = ranked(mixed)
    plan = read_plan(write_plan(mixed, pictures=["pictures", "shards"], output="shared"))
    for rank in reversed(range(world)):
        assert rank_plan(plan, share=Share(rank, world, gathers=False)) == []
    rank_plan(plan)
    assert rows(mixed / "shared" / "scores.csv") == alone


def test_gathering_before_all_jobs_are_done_says_how_many_units_are_left(
    mixed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = read_plan(mixed / "plan.json")
    rank_plan(plan, share=Share(0, 2, gathers=False))
    monkeypatch.setattr(run, "_score", lambda *_: None)
    with pytest.raises(InputError, match="2 of 5 units are not done"):
        rank_plan(plan)


def test_what_is_done_is_not_done_again(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ranked(mixed)
    part_path(mixed / "out", 1).unlink()
    done: list[int] = []
    monkeypatch.setattr(run, "write_part", lambda o, n, r: (done.append(n), write_part(o, n, r)))
    assert ranked(mixed) == first
    assert done == [1]


def test_pictures_that_come_later_shift_nothing(mixed: Path) -> None:
    first = ranked(mixed)
    write_folder(mixed / "pictures", 1, first=50)
    part_path(mixed / "out", 0).unlink()
    assert ranked(mixed) == first


def test_another_plan_in_the_same_folder_is_refused_by_name(mixed: Path) -> None:
    ranked(mixed)
    write_plan(mixed, pictures=["pictures", "shards"], default_prompt="a cat")
    with pytest.raises(InputError, match="default_prompt differs"):
        ranked(mixed)


@pytest.mark.parametrize("damage", ["", "[1]\n1\n", "x", '["a", "", null, {"r": 1.0}, ""]\n7\n'])
def test_a_damaged_part_is_named(mixed: Path, damage: str) -> None:
    ranked(mixed)
    path = part_path(mixed / "out", 2)
    path.write_text(damage)
    if is_done(mixed / "out", 2):
        with pytest.raises(InputError, match=path.name):
            ranked(mixed)
    else:
        assert len(ranked(mixed)) == 17


def test_a_part_keeps_every_text_and_number(tmp_path: Path) -> None:
    wanted = [
        Row("a/\u00e9\n.png", '=SUM("x")', 2**63, {"r": -0.1, "s": 1e-30}),
        Row("b", problem="is broken"),
    ]
    write_part(tmp_path, 1234, wanted)
    assert list(read_part(tmp_path, 1234)) == wanted


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        ({"rewards": {}}, "rewards"),
        ({"rewards": ["no-such"]}, "reward"),
        ({"pictures": "nowhere"}, "pictures"),
        ({"pictures": "no.tar"}, "pictures"),
        ({"pictures": []}, "pictures"),
        ({"top_k": -1}, "top_k"),
        ({"unit": 0}, "unit"),
        ({"unit": True}, "unit"),
        ({"format": "xlsx"}, "format"),
        ({"group_by": "seed"}, "group_by"),
        ({"dtype": "int8"}, "dtype"),
        ({"learning_rate": 1}, "plan"),
    ],
)
def test_a_plan_that_cannot_be_is_refused_by_name(tmp_path: Path, entries: dict[str, Any], named: str) -> None:
    write_folder(tmp_path / "pictures", 1)
    with pytest.raises(InputError, match=f"^{named}"):
        rank_plan(read_plan(write_plan(tmp_path, **entries)))


def test_an_empty_folder_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        rank_plan(read_plan(write_plan(tmp_path)))


def test_parquet_holds_the_same(mixed: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    plain = ranked(mixed)
    rank_plan(read_plan(write_plan(mixed, pictures=["pictures", "shards"], format="parquet")))
    table = pyarrow.read_table(mixed / "out" / "scores.parquet").to_pylist()
    assert [row["name"] for row in table] == [row["name"] for row in plain]
    for found, wanted in zip(table, plain, strict=True):
        score = wanted["jpeg-compressibility"]
        assert found["jpeg-compressibility"] == (pytest.approx(float(score)) if score else None)


def command(folder: Path) -> list[str]:
    return [sys.executable, "-m", "tastemaker.ranking", str(folder / "plan.json"), "--device", "cpu"]


def test_nothing_is_lost_or_doubled_by_kills(tmp_path: Path) -> None:
    write_folder(tmp_path / "pictures", 60)
    write_plan(tmp_path, unit=3, output="whole")
    rank_plan(read_plan(tmp_path / "plan.json"))
    write_plan(tmp_path, unit=3)
    rng, output = random.Random(0), tmp_path / "out"
    for wanted in range(4, 20, 5):  # killed when so many units are done, or a little later
        with subprocess.Popen(command(tmp_path), stderr=subprocess.DEVNULL, cwd=tmp_path) as process:
            while process.poll() is None and len(list(output.glob("parts/*/*.jsonl"))) < wanted:
                time.sleep(0.005)
            time.sleep(rng.random() * 0.02)
            process.send_signal(signal.SIGKILL)
    subprocess.run(command(tmp_path), check=True, capture_output=True, cwd=tmp_path)
    assert rows(output / "scores.csv") == rows(tmp_path / "whole" / "scores.csv")


@pytest.mark.slow
def test_two_processes_of_torchrun_give_what_one_gives(mixed: Path) -> None:
    alone = ranked(mixed)
    write_plan(mixed, pictures=["pictures", "shards"], output="two")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    told = [*launcher, "-m", "tastemaker.ranking", str(mixed / "plan.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(told, capture_output=True, text=True, cwd=mixed, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert rows(mixed / "two" / "scores.csv") == alone


def test_a_plan_says_what_parquet_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match="pip install pyarrow"):
        Plan(("a",), {"jpeg-compressibility": 1.0}, "out", format="parquet")
