"""Texts as CLIP's own tokenizer cleans them: against ftfy and open_clip, and without ftfy."""

from __future__ import annotations

import html
import random
import unicodedata
from pathlib import Path

import pytest
import torch

from tastemaker.rewards import load_reward
from tastemaker.rewards.models import _clean_text
from tastemaker.rewards.models._clean_text import clean, fix_text, misread
from tastemaker.rewards.models._text import clip_texts
from tests.rewards.official_files import clip_folder, small_clip

# What language models and people write: curly quotes, dashes, ellipses, other languages, copied HTML.
TYPICAL = [
    "a woman\u2019s portrait, \u201cgolden hour\u201d \u2014 soft light\u2026",
    "\u2018quoted\u2019 text \u2013 5\u2019 10\u201d tall, 3\u00d75 cm \u00b12\u00b0, 50\u202f\u20ac, \u00bd cup",
    "caf\u00e9, na\u00efve fa\u00e7ade, \u00dcn\u00efc\u00f6d\u00e9 \u00fcber stra\u00dfe, \u00c6r\u00f8",
    "l\u2019\u00e9t\u00e9 \u00e0 la plage, d\u2019\u00e9t\u00e9; \u201emalerisch\u201c; cora\u00e7\u00e3o",
    "\u017elu\u0165ou\u010dk\u00fd k\u016f\u0148",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0412 \u043b\u0435\u0441\u0443",
    "\u4e2d\u6587\u63d0\u793a\u8bcd\uff0c\u65e5\u672c\u8a9e\u3001\uff26\uff35\uff2c\uff2c\u3000\uff76\uff9e",
    "\U0001f3a8 art, \U0001f469\u200d\U0001f3a8, e\u0301 decomposed, o\ufb03ce \ufb01ne, \u0130stanbul",
    "salt &amp; pepper, 5 &lt; 6, &quot;x&quot;, &#x2019;, &hellip;, R&D &copy 2020",
    "two\nlines\r\nof\ttext  with\u00a0spaces \u2028 and\x0c breaks",
]
POOLS = [
    "abcdefghijklmnopqrstuvwxyz ABCDE ,.'\"-",
    "\u201c\u201d\u2018\u2019\u201a\u201e\u2026\u2013\u2014\u00b4`\u02bc\u201b\u201f",
    "\ufb00\ufb01\ufb02\ufb03\ufb04\ufb05\ufb06\u0132\u0133\u0149\u01f1\u01f2\u01f3\u01c4\u01c5\u01c6\u01c7\u01c8\u01c9\u01ca\u01cb\u01cc",
    "\uff21\uff22\uff41\uff11\uff01\u3000\uff71\uff76\uff9e\uffe5\uffe0\uffd2",
    "\u00e9\u00e8\u00ea\u00eb\u00e0\u00e2\u00e4\u00f6\u00fc\u00df\u00f1\u00e7\u00c9\u00c5\u00c3\u00c2\u00e3",
    "\u4e2d\u65e5\ud55c\u041f\u0440\u0412\u0413\u03b1\u03b2\u0394\u03a9\u03c2\u013e\u0161\u010d\u0165",
    "\x00\x07\x0b\x0c\x0e\x1b\x7f\xa0\xad\u200b\u200d\u2028\u2029\ufeff\u206a\ufff9\ufffc\ufffd\u0301\u0308\u0327",
    "\u00c3\u00e2\u00c2\u00d0\u00d1\u00e6\u20ac\u2122\u0153\u0152\u2039\u203a\u00b0\u00b1\u00b2\u00b3\u00b5\u00b6",
]
PIECES = [
    *("&amp;", "&amp;amp;", "&hellip;", "&#x2019;", "&EACUTE;", "&nbsp;", "&lt;", "&AMP;", "&#150;", "&foo;"),
    *("&copy", "&not", "\x1b[31m", "\ud83d\ude00", "\ud83d", "\r\n", "\n", "\r", "<b>", "\U0001f600"),
]


def texts(count: int, seed: int) -> list[str]:
    """Random ones of what the repairs are about."""
    draw = random.Random(seed)

    def piece() -> str:
        if draw.random() < 0.1:
            return draw.choice(PIECES)
        pool = draw.choice(POOLS) if draw.random() < 0.5 else POOLS[0]
        return "".join(draw.choice(pool) for _ in range(draw.randint(1, 4)))

    return ["".join(piece() for _ in range(draw.randint(1, 25))) for _ in range(count)]


def unicode_texts(count: int, seed: int) -> list[str]:
    """Random ones of all characters that there are: what is unassigned depends on a library's Unicode."""
    draw = random.Random(seed)
    ends = [(32, 126), (32, 0x24F), (0x250, 0x2FFF), (0x3000, 0xFFFD), (0x10000, 0x1F9FF)]
    made = ["".join(chr(draw.randint(*draw.choice(ends))) for _ in range(draw.randint(1, 40))) for _ in range(count)]
    return ["".join(c for c in text if unicodedata.category(c) not in ("Cn", "Cs", "Co")) for text in made]


@pytest.fixture
def without_ftfy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clean_text, "has_ftfy", lambda: False)


def test_by_hand(without_ftfy: None) -> None:
    curly = "\u201cA  woman\u2019s\u201d\u2028 \ufb01ne\tHAT\u3000\uff21\u2026 "
    assert clean(curly) == '"a woman\'s" fine hat a\u2026'
    assert clean("a &amp;amp;amp;amp; b&nbsp;&lt;c&gt; &EACUTE;") == "a & b <c> \u00e9"  # ftfy until nothing changes
    assert clean("<b> &EACUTE; &eacute; &amp;amp;amp;") == "<b> &eacute; \u00e9 &amp;"  # two times where it is HTML
    assert clean("e\u0301 \x1b[31mred\x1b[0m \x93hi\x94 \ufeff\x07") == '\u00e9 red "hi"'
    assert clean("\ud83d\ude00 \ud83d") == "\U0001f600 \ufffd"


def misread_remarks(made: list[str]) -> list[str]:
    """What a reward says of prompts that ftfy might clean otherwise."""
    reader = clip_texts(cleaned=True)
    return [line for text in made for line in reader.overflow(text) if "install ftfy" in line]


@pytest.mark.parametrize("text", TYPICAL)
def test_what_people_write_needs_no_ftfy(text: str, without_ftfy: None) -> None:
    ftfy = pytest.importorskip("ftfy")
    wanted = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert clean(text) == " ".join(wanted.split()).lower()
    assert misread_remarks([text]) == []


@pytest.mark.parametrize("make", [texts, unicode_texts])
def test_repairs_are_ftfys_or_the_text_is_named(make, without_ftfy: None) -> None:
    ftfy = pytest.importorskip("ftfy")
    made = make(1500, seed=1)
    other = [text for text in made if fix_text(text) != ftfy.fix_text(text)]
    named = [text for text in made if misread(text)]
    assert [text for text in other if text not in named] == []
    assert len(named) < 0.3 * len(made)  # most are surely alike
    assert len(misread_remarks(made)) == len(named)


@pytest.mark.parametrize(
    "codec", ["cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1257", "latin-1", "iso8859-2", "mac-roman", "cp437"]
)
def test_texts_read_in_a_wrong_encoding_are_named(codec: str, without_ftfy: None) -> None:
    ftfy = pytest.importorskip("ftfy")
    made = [text.encode().decode(codec, "replace") for text in TYPICAL]
    other = [text for text in made if fix_text(text) != ftfy.fix_text(text)]
    assert len(other) >= 3
    assert len(misread_remarks(other)) == len(other)


@pytest.mark.parametrize("has", [True, False], ids=["with ftfy", "without ftfy"])
def test_token_ids_are_those_of_open_clip(has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ftfy")
    open_clip = pytest.importorskip("open_clip")
    monkeypatch.setattr(_clean_text, "has_ftfy", lambda: has)
    theirs, ours = open_clip.get_tokenizer("ViT-H-14"), clip_texts(cleaned=True)
    made = [*TYPICAL, *texts(600, seed=2), *unicode_texts(300, seed=2)]
    made = made if has else [text for text in made if not misread(text)]
    assert len(made) > 600
    for text in made:
        ids = theirs([text])[0].tolist()
        wanted = ids[: ids.index(49407) + 1]
        assert ours([text])[0][0].tolist() == wanted, ascii(text)
    plain = clip_texts(cleaned=False)
    assert plain(TYPICAL[:1])[0].tolist() != ours(TYPICAL[:1])[0].tolist()  # so the cleaning is what makes them equal


def test_hps_and_clip_score_clean_texts_and_pickscore_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PickScore's published code takes transformers' processor, which cleans nothing."""
    model, config = small_clip()
    curly, straight = "a woman\u2019s \u201chat\u201d", 'a woman\'s "hat"'
    image = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    for name, folder, alike in (
        ("clip-score", "clip-vit-large-patch14", True),
        ("hps-v2.1", "hps", True),
        ("pickscore-v1", "PickScore_v1", False),
    ):
        source = clip_folder(tmp_path / folder, model, config)
        reward = load_reward(name, source=source)
        assert torch.equal(reward(image, curly), reward(image, straight)) == alike
        monkeypatch.setattr(_clean_text, "has_ftfy", lambda: False)
        other = load_reward(name, source=source)
        assert (other.fingerprint == reward.fingerprint) != alike  # a remembered score would be another's
        caplog.clear()
        other(image, "caf\u00c3\u00a9")
        assert ("install ftfy" in caplog.text) == alike
        monkeypatch.undo()
