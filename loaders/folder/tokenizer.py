"""CLIP tokenizers from a model folder's own files, made without letting a library look for more.

`from_pretrained` would follow whatever a stranger's `tokenizer_config.json` and `tokenizer.json` name:
another class, other files, regular expressions. Of those files only the vocabulary, the merges, the
special tokens and the length are used; the rest of CLIP's tokenizer is the same everywhere. Checking them costs 0.05 s
of CPU: 0.12 s a tokenizer against 0.07 (benchmarks/RESULTS.md).

SDXL's second encoder is padded with id 0, which is `!` in the vocabulary. A `!` in a prompt is another token,
`!</w>`: it was in training (open_clip knows no special `!`), it is in ComfyUI, and it is here, from folders as from
single files. diffusers' pipelines read a folder's `"pad_token": "!"` as a special text to be looked for in prompts, so
that for this one encoder a `!` becomes padding; pictures of prompts with a `!` differ from theirs.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ...core.assets import asset_folder
from ...core.errors import ModelFileError
from ...core.files import open_regular
from ..formats.limits import MAX_JSON_BYTES, MAX_VOCABULARY
from ..formats.weights import read_json

_CLASSES = (None, "CLIPTokenizer", "CLIPTokenizerFast")
_SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>"}
_SPECIAL |= {"unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
_LONGEST = 1024
_CLIP_VOCABULARY = 49_408


def clip_tokenizer(folder: Path, vocabulary_size: int) -> Any:
    """Make the CLIP tokenizer of a folder that holds `vocab.json` and `merges.txt`, or `tokenizer.json`.

    `vocabulary_size` is the number of rows of the text encoder's embedding: no id may reach beyond.
    Works alike with transformers 4 and 5. Raises ModelFileError.
    """
    where = f"{folder.parent.name}/{folder.name}"
    config = read_json(folder / "tokenizer_config.json")
    if "auto_map" in config:
        raise ModelFileError(f"{where} asks to run code (auto_map); it is refused.")
    if config.get("tokenizer_class") not in _CLASSES:
        raise ModelFileError(f"{where} is for {config['tokenizer_class']!r}; a CLIPTokenizer is needed.")
    length = config.get("model_max_length", 77)
    if not isinstance(length, (int, float)) or isinstance(length, bool) or length < 3:
        raise ModelFileError(f"{where} has a model_max_length of {length!r}; it must be at least 3.")
    vocab, merges = _vocabulary(folder, where)
    special = _special_tokens(config, where)
    _check(vocab, merges, special, vocabulary_size, where)
    padding = vocab[special["pad_token"]]
    # the padding's id is set last: what is named when it is made is looked for in prompts
    named = special | {"pad_token": special["eos_token"]}
    settings = {"model_max_length": int(min(length, _LONGEST)), **named}  # some write 1e30 for "no limit"
    try:
        tokenizer = _make(folder, where, vocab, merges, settings)
        tokenizer.pad_token_id = padding
        return tokenizer
    except ModelFileError:
        raise
    except Exception as e:  # the tokenizers library raises nothing narrower
        raise ModelFileError(f"{where} does not describe a tokenizer: {str(e)[:200]}.") from e


def shipped_tokenizers() -> tuple[Any, Any]:
    """Make CLIP's tokenizer from the pack's own files, as SDXL's two encoders use it.

    The first is padded with the end of text, the second with id 0 (see above). Single files have no tokenizer.
    """
    first, second = (clip_tokenizer(asset_folder("clip-tokenizer"), _CLIP_VOCABULARY) for _ in range(2))
    second.pad_token_id = 0
    return first, second


def _make(folder: Path, where: str, vocab: dict[str, int], merges: list[Any], settings: dict[str, Any]) -> Any:
    from transformers import CLIPTokenizerFast  # the plain one of transformers 4 splits Chinese otherwise

    if "vocab" in inspect.signature(CLIPTokenizerFast.__init__).parameters:  # transformers 5
        return CLIPTokenizerFast(vocab=vocab, merges=merges, **settings)
    for name in ("vocab.json", "merges.txt"):
        if not (folder / name).is_file():
            raise ModelFileError(f"{where} has no {name}, which this version of transformers needs.")
    files = {"vocab_file": str(folder / "vocab.json"), "merges_file": str(folder / "merges.txt")}
    return CLIPTokenizerFast(**files, **settings)


def _vocabulary(folder: Path, where: str) -> tuple[dict[str, int], list[tuple[str, str]]]:
    vocab: Any
    pairs: Any
    if (folder / "vocab.json").is_file() or not (folder / "tokenizer.json").is_file():
        vocab, pairs = read_json(folder / "vocab.json"), _merge_lines(folder / "merges.txt", where)
    else:
        model = read_json(folder / "tokenizer.json").get("model")
        if not isinstance(model, dict) or model.get("type") != "BPE":
            raise ModelFileError(f"{where}/tokenizer.json is not a byte-pair tokenizer.")
        vocab, pairs = model.get("vocab"), model.get("merges")
    if not isinstance(vocab, dict) or not isinstance(pairs, list):
        raise ModelFileError(f"{where}/tokenizer.json has no vocabulary and merges.")
    merges = []
    for pair in pairs:  # older files write a pair as one text
        parts = pair.split(" ") if isinstance(pair, str) else pair
        if not isinstance(parts, list) or len(parts) != 2 or not all(isinstance(p, str) and p for p in parts):
            raise ModelFileError(f"{where} has a merge that is no pair: {str(pair)[:80]!r}.")
        merges.append((parts[0], parts[1]))
    return vocab, merges


def _merge_lines(path: Path, where: str) -> list[str]:
    try:
        if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
            raise ModelFileError(f"{where} has no merges.txt of a tokenizer's size. Download the model again.")
        with open_regular(path) as file:
            lines = file.read(MAX_JSON_BYTES).decode("utf-8").replace("\r\n", "\n").split("\n")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else str(e)
        raise ModelFileError(f"{where}/merges.txt cannot be read: {reason}.") from e
    return [line for line in lines[1 if lines[0].startswith("#version") else 0 :] if line.strip()]


def _special_tokens(config: dict[str, Any], where: str) -> dict[str, str]:
    special = {}
    for name, usual in _SPECIAL.items():
        token = config.get(name) or usual
        token = token.get("content") if isinstance(token, dict) else token
        if not isinstance(token, str) or not token or len(token) > 100:
            raise ModelFileError(f"{where} has a {name} that is no text: {str(token)[:80]!r}.")
        special[name] = token
    return special


def _check(vocab: dict[str, Any], merges: list[Any], special: dict[str, str], size: int, where: str) -> None:
    if not 0 < len(vocab) <= MAX_VOCABULARY or len(merges) > MAX_VOCABULARY:
        raise ModelFileError(f"{where} has {len(vocab)} tokens and {len(merges)} merges; no CLIP model has.")
    for token, number in vocab.items():
        if type(number) is not int or not 0 <= number < size:
            raise ModelFileError(
                f"{where} gives the token {token[:40]!r} the number {str(number)[:40]}; "
                f"its text encoder has {size} rows. The two do not belong together."
            )
    if len(set(vocab.values())) != len(vocab):
        raise ModelFileError(f"{where} gives two tokens the same number.")
    for name, token in special.items():
        if token not in vocab:
            raise ModelFileError(f"{where} has the {name} {token[:40]!r}, which is not in its vocabulary.")
