"""Prompt weights and long prompts: the grammar, and the meaning ComfyUI's own encoder gives them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from tastemaker.loaders import InputError, with_lora
from tastemaker.sampling import sample
from tastemaker.sampling.prompt_syntax import parse_weights
from tastemaker.sampling.prompts import Encoded, PromptCache, encode_prompts, shared_cache, stack, windows
from tests.conftest import ROOT

PROMPT = "a large red heart on a blue background"


@pytest.mark.parametrize(
    ("prompt", "runs"),
    [
        ("", []),
        ("a red star", [("a red star", 1.0)]),
        ("a (red) star", [("a ", 1.0), ("red", 1.1), (" star", 1.0)]),
        ("a (red:1.3) star", [("a ", 1.0), ("red", 1.3), (" star", 1.0)]),
        ("((red))", [("red", 1.1 * 1.1)]),
        ("(a (red:0.5) star:1.2)", [("a ", 1.2), ("red", 0.5), (" star", 1.2)]),
        (r"\(red\)", [("(red)", 1.0)]),
        ("(12:30)", [("12", 30.0)]),
        ("(red:blue)", [("red:blue", 1.1)]),
        ("(:2)", [(":2", 1.1)]),
        ("a) (b)", [("a) (b)", 1.0)]),
        ("(open", [("(open", 1.0)]),
        ("(red:-1)", [("red", -1.0)]),
    ],
)
def test_weights_are_read(prompt: str, runs: list) -> None:
    assert [(r.text, pytest.approx(r.weight)) for r in parse_weights(prompt)] == runs


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("(a:nan)", "finite"),
        ("(a:1e999)", "finite"),
        ("(" * 60 + "a" + ")" * 60, "50 deep"),
        ("embedding:x", "not supported"),
        ("a embedding:x", "not supported"),
    ],
)
def test_what_cannot_be_read_is_said(prompt: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse_weights(prompt)


HOST = """
import json, sys
from scripts.comfy.inside import enter
enter()
from comfy.sdxl_clip import SDXLTokenizer
tokenizer = SDXLTokenizer()
for line in sys.stdin:
    print(json.dumps(tokenizer.tokenize_with_weights(json.loads(line))))
"""


def hard_prompts() -> list[str]:
    """Prompts with weights, escapes, odd parentheses, line ends, and several windows."""
    rng = random.Random(7)
    words = ["cat", "astronaut", "(red)", "(blue:1.3)", "((soft light))", r"\(x\)", "(", ")", "caf\u00e9", "\U0001f600"]
    words += ["(a very long run of words that does not fit:0.7)", "extraordinarily,", "(:", "1.5)", "\n", "  "]
    made = [" ".join(rng.choices(words, k=rng.choice([1, 5, 30, 120]))) for _ in range(60)]
    return ["", "a cat", "!", "wow!! a cat !", *made]


def test_tokens_and_weights_equal_the_hosts() -> None:
    """The shipped tokenizers, our windows, against the SDXL tokenizer of the real ComfyUI."""
    pytest.importorskip("einops", reason="ComfyUI's own packages are not in this environment (test_versions)")
    from tastemaker.loaders.folder.tokenizer import shipped_tokenizers

    prompts = hard_prompts()
    done = subprocess.run(
        [sys.executable, "-c", HOST],
        cwd=ROOT,
        input="\n".join(json.dumps(p) for p in prompts),
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(answers) == len(prompts)
    assert max(len(answer["l"]) for answer in answers) >= 3
    for prompt, answer in zip(prompts, answers, strict=True):
        for tokenizer, side in zip(shipped_tokenizers(), ("l", "g"), strict=True):
            ours = windows(tokenizer, parse_weights(prompt), 77)
            theirs = [[[token, pytest.approx(weight)] for token, weight in window] for window in answer[side]]
            assert [[[t, w] for t, w in zip(o.ids, o.weights, strict=True)] for o in ours] == theirs, prompt


def test_a_weighted_token_moves_away_from_the_empty_prompt(tiny_sdxl) -> None:
    """Its states are empty + w (plain - empty); unweighted tokens and pooled stay as they are."""
    plain, weighted, empty = encode_prompts(tiny_sdxl, ["red star", "(red:1.5) star", ""])
    assert torch.equal(plain.pooled, weighted.pooled)
    torch.testing.assert_close(
        weighted.context[1], empty.context[1] + 1.5 * (plain.context[1] - empty.context[1]), atol=1e-6, rtol=1e-5
    )
    for place in (0, 2, 3, 76):
        assert torch.equal(weighted.context[place], plain.context[place])


def test_weight_one_is_the_plain_prompt(tiny_sdxl) -> None:
    plain, weighted = encode_prompts(tiny_sdxl, ["red star", "(red:1.0) star"])
    assert torch.equal(plain.context, weighted.context)


def test_a_long_prompt_is_windows_side_by_side(tiny_sdxl) -> None:
    """With 75 words the first window is full, so what follows is encoded as if alone."""
    first, rest = " ".join(["red"] * 75), "blue star"
    together, head, tail = encode_prompts(tiny_sdxl, [f"{first} {rest}", first, rest])
    assert together.context.shape[0] == 154
    torch.testing.assert_close(together.context, torch.cat([head.context, tail.context]), atol=1e-6, rtol=1e-5)
    assert torch.equal(together.pooled, head.pooled)


def test_a_long_neighbour_does_not_change_a_short_prompts_picture(tiny_sdxl) -> None:
    long = " ".join(["large red heart"] * 40)
    alone = sample(tiny_sdxl, PROMPT, steps=3, seeds=[4])
    beside = sample(tiny_sdxl, [PROMPT, long], steps=3, seeds=[4, 5])
    assert (alone.images[0] - beside.images[0]).abs().max() <= 1e-5


def test_rows_of_different_length_are_masked() -> None:
    rows = [Encoded(torch.ones(2, 3), torch.zeros(1)), Encoded(torch.ones(4, 3), torch.zeros(1))]
    stacked = stack(rows, torch.device("cpu"))
    assert stacked.mask.tolist() == [[True, True, False, False], [True] * 4]
    assert stacked.context[0, 2:].abs().sum() == 0
    assert stack(rows[:1], torch.device("cpu")).mask is None


def test_the_cache_encodes_each_prompt_once_and_forgets_the_oldest(tiny_sdxl) -> None:
    cache = PromptCache(size=2)
    assert cache.missing(tiny_sdxl, ["a", "b", "a"]) == ["a", "b"]
    first = cache.get(tiny_sdxl, ["a", "b"])
    assert cache.get(tiny_sdxl, ["a"])[0] is first[0]
    cache.get(tiny_sdxl, ["c"])
    assert cache.missing(tiny_sdxl, ["a", "b", "c"]) == ["b"]


def test_the_cache_forgets_by_bytes_too(tiny_sdxl) -> None:
    one = PromptCache().get(tiny_sdxl, ["a"])[0]
    assert one.pooled.untyped_storage().nbytes() == one.pooled.nbytes  # what is counted is what is held
    each = one.context.nbytes + one.pooled.nbytes
    cache = PromptCache(most_bytes=2 * each)
    assert len(cache.get(tiny_sdxl, ["a", "b", "c"])) == 3
    assert cache.missing(tiny_sdxl, ["a", "b", "c"]) == ["a"]
    long = " ".join(["red"] * 200)  # three windows: more than the cache holds
    assert len(cache.get(tiny_sdxl, [long])[0].context) == 3 * 77
    assert cache.missing(tiny_sdxl, ["b", "c", long]) == ["b", "c", long]


def test_more_prompts_than_the_cache_holds_are_encoded_once_and_with_the_lora(tiny_sdxl, tmp_path, monkeypatch) -> None:
    from tastemaker.loaders import applied_loras, lora_state, read_lora
    from tests.loaders.lora_files import random_layers, write

    path = "text_model.encoder.layers.0.mlp.fc1"
    paths = [p for p in (path, path.removeprefix("text_model.")) if _has(tiny_sdxl.modules["text_encoder_2"], p)]
    layers = random_layers(tiny_sdxl, [("text_encoder_2", paths[0])], alpha=8.0)
    write(tmp_path / "lora.safetensors", lora_state(layers))
    changed = with_lora(tiny_sdxl, read_lora(tmp_path / "lora.safetensors"))
    texts, negative = ["a red star", "a blue ring", "a green heart"], "grey"
    with applied_loras(changed, changed.text_encoders):
        want = encode_prompts(changed, texts)
    assert (want[0].context - encode_prompts(tiny_sdxl, texts)[0].context).abs().max() > 1e-3
    seen = []
    monkeypatch.setattr("tastemaker.sampling.loop.shared_cache", lambda: PromptCache(size=1))
    monkeypatch.setattr("tastemaker.sampling.loop.Network", _stopping(seen))
    with pytest.raises(KeyboardInterrupt):
        sample(changed, texts, negative_prompt=negative, steps=1, seeds=[1, 2, 3])
    (prompts, unguided) = seen[0]
    for got, one in zip(prompts, want, strict=True):
        assert torch.equal(got.context, one.context)
        assert torch.equal(got.pooled, one.pooled)
    with applied_loras(changed, changed.text_encoders):
        assert torch.equal(unguided.context, encode_prompts(changed, [negative])[0].context)


def _has(module: torch.nn.Module, path: str) -> bool:
    return path in dict(module.named_modules())


def _stopping(seen: list):
    """A network that keeps its arguments and goes no further."""

    def network(model, prompts, negative, **others):
        seen.append((prompts, negative))
        raise KeyboardInterrupt

    return network


def test_the_shared_cache_has_a_limit_in_bytes() -> None:
    assert shared_cache()._most_bytes == 256 * 2**20


@pytest.mark.parametrize("length", [3, 5, 9])
def test_a_tokenizer_of_few_tokens_cuts_every_run(length: int) -> None:
    """Seven tokens are a run that is kept whole, but not where no window has room for it."""

    def tokenizer(text: str, **_: object) -> SimpleNamespace:
        return SimpleNamespace(input_ids=[int(word) for word in text.split()])

    tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id = 100, 101, 102
    cut = windows(tokenizer, parse_weights("1 2 3 4 5 6 7"), length)
    assert all(len(window.ids) == length for window in cut)
    assert [t for window in cut for t in window.ids if t < 100] == [1, 2, 3, 4, 5, 6, 7]
