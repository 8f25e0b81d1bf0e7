"""Run cases in a real server and judge what came of them."""

from __future__ import annotations

import json
import logging
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from scripts.comfy.client import ComfyClient, PromptRefused
from scripts.comfy.server import ComfyServer
from tests.conftest import ROOT

from .cases import TESTED, Case, cases, inputs_of, nodes_of, usual

log = logging.getLogger(__name__)

SECONDS = 30.0  # a case that takes longer hangs
MEMORY = 100 * 2**20  # what the server may grow by after warming up
OFTEN = 250  # cases between two looks at the memory
WARM_UP = 100  # cases: networks load, threads start, the allocator finds its size
_OURS = re.compile(r"\.?tastemaker[\w.]*\.(core|images|loaders|rewards|ranking|sampling|training|evaluation|nodes)\.")


@dataclass
class Outcome:
    """What came of a run of cases: how many ended how, and (case, why) of those that should not have."""

    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[Case, str]] = field(default_factory=list)
    slowest: float = 0.0
    growth: int = 0

    def told(self) -> str:
        """Return it in words, the failures first by kind."""
        kinds = Counter(why.split("|")[0].strip() for _, why in self.failures)
        lines = [f"{sum(self.counts.values())} cases: " + ", ".join(f"{n} {k}" for k, n in self.counts.most_common())]
        lines += [f"longest {self.slowest:.1f} s, memory {self.growth / 2**20:+.0f} MiB"]
        lines += [f"{n} x {kind}" for kind, n in kinds.most_common()]
        lines += [f"#{case.number} {case.node} {_short(case.changes)}: {why}" for case, why in self.failures[:200]]
        return "\n".join(lines)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 200 else text[:197] + "..."


@contextmanager
def fuzz_server(base: Path) -> Iterator[ComfyServer]:
    """A server with the nodes that make wrong values."""
    (base / "custom_nodes").mkdir(parents=True, exist_ok=True)
    for pack in ("fuzz/values_pack.py", "nodes/votes_pack.py"):
        shutil.copy(ROOT / "tests" / pack, base / "custom_nodes")
    (base / "output").mkdir()
    Image.new("RGB", (16, 16), "red").save(base / "output" / "one.png")
    with ComfyServer(base) as running:
        yield running


def run(server: ComfyServer, count: int, seed: int, first: int = 0) -> Outcome:
    """Run `count` cases from number `first` on; stops where the server does."""
    client, outcome = ComfyClient(server.address), Outcome()
    info = client.get("/object_info")
    warm = usual("TastemakerReport", nodes_of(info), random.Random(0))
    client.run(warm, seconds=10 * SECONDS)  # imports, networks and what the other prompts share
    start = 0
    for case in cases(info, first + count, seed):
        if case.number < first:
            continue
        began = time.monotonic()
        kind, why = judged(client, server, info, case)
        seconds = time.monotonic() - began
        outcome.slowest = max(outcome.slowest, seconds)
        log.info("#%d %s %s %s: %s %s", case.number, case.node, f"{seconds:.1f} s", _short(case.changes), kind, why)
        outcome.counts[kind] += 1
        if why:
            outcome.failures.append((case, why))
        if not server.alive:
            outcome.failures.append((case, f"the server ended | {server.log[-2000:]}"))
            return outcome
        if case.number - first == min(WARM_UP, count // 2):
            start = server.memory
        if case.number % OFTEN == 0:
            client.post("/history", {"clear": True})  # the host keeps 10,000 prompts and their outputs
            log.info("memory %.0f MiB", server.memory / 2**20)
    outcome.growth = server.memory - start
    if outcome.growth > MEMORY:
        outcome.failures.append((case, f"the server grew | by {outcome.growth / 2**20:.0f} MiB"))
    return outcome


def judged(client: ComfyClient, server: ComfyServer, info: dict[str, Any], case: Case) -> tuple[str, str]:
    """(how it ended, what is wrong with that); the second is empty where nothing is."""
    try:
        result = client.run(case.prompt, seconds=SECONDS)
    except PromptRefused:
        return "refused", ""
    except TimeoutError:
        client.interrupt()
        return "hang", f"no end within {SECONDS:.0f} s | "
    except (OSError, RuntimeError) as e:
        return "no answer", f"the server does not answer | {e}"
    if TESTED in result.refused:
        return "refused", ""
    if result.status != "error":
        return result.status, ""
    return "error", _wrong_error(result.error, server, info, case)


def _wrong_error(error: dict[str, Any], server: ComfyServer, info: dict[str, Any], case: Case) -> str:
    """Why an error is none that a user should see; empty for a good one."""
    kind, message = error["exception_type"], error["exception_message"]
    if error["node_id"] != TESTED:
        return "" if error["node_type"] == "FuzzShow" else f"another node failed | {error['node_type']} {message[:200]}"
    if not _OURS.search(kind):
        where = [line for line in error["traceback"] if "tastemaker" in line]
        return f"{kind} | {message[:200]} {' '.join(where[-1:])[:200]}"
    if str(server.base) in message:
        return f"an absolute path in a message | {message[:300]}"
    if not message.strip():
        return f"an empty message | {kind}"
    if kind.endswith((".InputError", ".WireError")):
        name = message.partition(":")[0]
        if name not in inputs_of(nodes_of(info)[case.node]):
            return f"{case.node} names {name!r}, no input of it | {message[:200]}"
    return ""
