"""Makes `assets/clip-tokenizer` from CLIP's own list of merges, and the goldens of its test.

    python -m scripts.embedded.make_tokenizer open_clip_torch-3.3.0-py3-none-any.whl
    python -m scripts.embedded.make_tokenizer --goldens

The wheel (MIT, from PyPI) carries `bpe_simple_vocab_16e6.txt.gz` as OpenAI published it with CLIP
(MIT). The goldens are what ComfyUI's own SDXL tokenizer makes of some prompts.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import zipfile
from pathlib import Path

from ..comfy.locate import ROOT, find
from .tokenizers import END, START, byte_alphabet

FOLDER = ROOT / "assets" / "clip-tokenizer"
GOLDENS = ROOT / "tests" / "goldens" / "clip_tokens.json"
MERGES_IN_WHEEL = "open_clip/bpe_simple_vocab_16e6.txt.gz"
VOCABULARY = 49_408

PROMPTS = (
    "",
    "a photo of an astronaut riding a horse on mars",
    "An OLD man's hat, don't; we'll see: 1234 5.6%",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m \u4f60\u597d \u0440\u0443\u0441\u0441\u043a\u0438\u0439 \U0001f600",
    "  double  spaces\tand\nnew lines  ",
    "(masterpiece, best quality), <lora:x:1>, !!! ... #hash @at",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
)


def make(wheel: Path) -> None:
    """Write vocab.json, merges.txt and tokenizer_config.json."""
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read(MERGES_IN_WHEEL)).decode("utf-8").split("\n")
    letters = byte_alphabet()
    # the list goes on; CLIP was trained with as many merges as fill its vocabulary
    merges = lines[1 : 1 + VOCABULARY - 2 * len(letters) - 2]
    words = letters + [letter + "</w>" for letter in letters]
    words += ["".join(merge.split()) for merge in merges] + [START, END]
    assert len(words) == len(set(words)) == VOCABULARY, len(words)
    config = {
        "add_prefix_space": False,
        "bos_token": START,
        "do_lower_case": True,
        "eos_token": END,
        "errors": "replace",
        "model_max_length": 77,
        "pad_token": END,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": END,
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    vocabulary = {word: i for i, word in enumerate(words)}
    text = json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / "vocab.json").write_text(text, encoding="utf-8")
    (FOLDER / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    (FOLDER / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def make_goldens() -> None:
    """Write the token ids that the host's tokenizers give, padded to 77."""
    sys.path.insert(0, str(find()))
    from comfy.cli_args import args

    args.cpu = True
    from comfy.sdxl_clip import SDXLTokenizer

    tokenizer = SDXLTokenizer()
    entries = []
    for prompt in PROMPTS:
        entry = {"prompt": prompt}
        for name, part in (("clip_l", tokenizer.clip_l), ("clip_g", tokenizer.clip_g)):
            # the host reads (x:1.1) as a weight; only the tokens are compared
            rows = part.tokenize_with_weights(prompt.replace("(", "\\(").replace(")", "\\)"))
            assert len(rows) == 1
            entry[name] = [token for token, _ in rows[0]]
        entries.append(entry)
    GOLDENS.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, nargs="?")
    parser.add_argument("--goldens", action="store_true")
    options = parser.parse_args()
    if options.wheel:
        make(options.wheel)
    if options.goldens:
        make_goldens()


if __name__ == "__main__":
    main()
