"""Folders of pictures: what is found, in which order, with which prompt, and what is refused."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tastemaker.images.convert import from_pil, open_picture
from tastemaker.images.decode import PictureError, decode_file
from tastemaker.images.folder import changes, natural, read_folder
from tastemaker.images.pictures import stacked
from tastemaker.images.png import PngError, read_png, with_text
from tastemaker.images.prompts import caption, find_prompt
from tastemaker.loaders import InputError
from tests.promptly import promptly


def pixels(seed: int = 0, size: tuple[int, int] = (8, 6)) -> np.ndarray:
    """(H, W, 3) 8-bit noise."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def write(path: Path, texts: dict[str, str] | None = None, **options: Any) -> Path:
    info = PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, value)
    extra = {"pnginfo": info} if path.suffix == ".png" else {}
    Image.fromarray(pixels(**options)).save(path, **extra)
    return path


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


# --- listing ----------------------------------------------------------------------------------


def test_pictures_come_in_the_order_people_count_in(tmp_path: Path) -> None:
    for name in ("b10.png", "b2.png", "A1.png", "b2.txt", "notes.md", ".hidden.png"):
        (tmp_path / name).write_text("words") if not name.endswith("png") else write(tmp_path / name)
    found = read_folder(tmp_path)
    assert [file.name for file in found.pictures.files] == ["A1.png", "b2.png", "b10.png"]
    assert found.prompts == ("", "words", "")
    assert found.broken == ()
    assert [name for name, _ in found.without_prompt] == ["A1.png", "b10.png"]


def test_natural_order_survives_odd_digits() -> None:
    names = ["x10", "x9", "x\u00b2", "x", "10", "9", "x007"]
    assert sorted(names, key=natural) == ["9", "10", "x", "x007", "x9", "x10", "x\u00b2"]


def test_sub_folders_only_when_asked_for(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    write(tmp_path / "deep" / "er" / "a.png")
    write(tmp_path / "b.png")
    assert [f.name for f in read_folder(tmp_path).pictures.files] == ["b.png"]
    found = read_folder(tmp_path, recursive=True).pictures
    assert [f.name for f in found.files] == ["b.png", "deep/er/a.png"]
    assert [found.name(i) for i in range(2)] == ["b.png", "a.png"]


def test_newest_first_and_the_limit_is_said(tmp_path: Path) -> None:
    for i in range(4):
        os.utime(write(tmp_path / f"{i}.png"), ns=(10**18, 10**18 + i * 10**9))
    found = read_folder(tmp_path, order="newest first", max_pictures=2)
    assert [f.name for f in found.pictures.files] == ["3.png", "2.png"]
    assert found.skipped == (("2 files", "over max_pictures"),)


def test_broken_files_are_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    Image.new("RGB", (32_768, 1)).save(tmp_path / "thread.png")
    Image.new("RGB", (1, 4000)).save(tmp_path / "thread.bmp")
    (tmp_path / "page.png").write_text("<html>not found</html>")
    (tmp_path / "two.webp").write_bytes(b"RI")
    (tmp_path / "folder.png").mkdir()
    huge = struct.pack(">II5B", 100_000, 100_000, 8, 2, 0, 0, 0)
    header = b"IHDR" + huge
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]
    (tmp_path / "bomb.png").write_bytes(bomb)
    frames = [Image.fromarray(pixels(i)) for i in range(2)]
    frames[0].save(tmp_path / "moving.png", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    os.mkfifo(tmp_path / "pipe.png")
    found = read_folder(tmp_path)
    assert [f.name for f in found.pictures.files] == ["whole.png"]
    why = dict(found.broken)
    assert set(why) == {
        *("cut.png", "empty.jpg", "page.png", "two.webp", "bomb.png", "moving.png", "moving.webp", "pipe.png"),
        *("thread.png", "thread.bmp"),
    }
    assert "cut off" in why["cut.png"]
    assert "is empty" in why["empty.jpg"]
    assert "is no PNG" in why["page.png"]
    assert "100000 x 100000" in why["bomb.png"]
    assert "256 times as long" in why["thread.png"]
    assert "256 times as long" in why["thread.bmp"]
    assert "animation" in why["moving.png"]
    assert "animation" in why["moving.webp"]
    assert "ordinary" in why["pipe.png"]


def test_links_that_lead_out_are_refused(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    inside.mkdir()
    write(outside / "secret.png")
    write(inside / "own.png")
    (inside / "link.png").symlink_to(outside / "secret.png")
    (inside / "alias.png").symlink_to(inside / "own.png")
    (inside / "below").symlink_to(outside, target_is_directory=True)
    (inside / "loop").symlink_to(inside, target_is_directory=True)
    found = read_folder(inside, recursive=True)
    assert [f.name for f in found.pictures.files] == ["alias.png", "own.png"]
    assert "leads out" in dict(found.broken)["link.png"]
    assert {"below", "loop"} <= set(dict(found.broken))
    (inside / "own.txt").symlink_to(write(outside / "secret2.png"))
    assert dict(read_folder(inside).without_prompt)["own.png"] == "its .txt file is a link"


def test_hostile_names_are_listed_in_plain_letters(tmp_path: Path) -> None:
    write(tmp_path / "good <img src=x onerror=alert(1)> '\".png")
    for name in (b"line\nbreak.png", "turned\u202egnp.png".encode(), b"broken\xff.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(
            (tmp_path / "good <img src=x onerror=alert(1)> '\".png").read_bytes()
        )
    found = read_folder(tmp_path)
    assert len(found.pictures) == 1
    assert len(found.broken) == 3
    assert all(name.isascii() and name.isprintable() for name, _ in found.broken)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prompts_from", "shell"),
        ("prompts_from", None),
        ("without_prompt", ""),
        ("order", ["name"]),
        ("max_pictures", 0),
        ("max_pictures", 10**9),
        ("max_pictures", "5"),
        ("default_prompt", "x" * 20_000),
        ("default_prompt", "\ud800"),
    ],
)
def test_a_bad_choice_is_named(tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(InputError, match=name):
        read_folder(tmp_path, **{name: value})


def test_a_folder_that_is_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be listed"):
        read_folder(tmp_path / "nowhere")


def test_changes_follow_pictures_and_texts_only(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    marks = [changes(tmp_path, recursive=False)]
    (tmp_path / "notes.md").write_text("x")
    assert changes(tmp_path, recursive=False) == marks[0]
    (tmp_path / "a.txt").write_text("a star")
    marks.append(changes(tmp_path, recursive=False))
    write(tmp_path / "b.png")
    marks.append(changes(tmp_path, recursive=False))
    (tmp_path / "a.png").unlink()
    marks.append(changes(tmp_path, recursive=False))
    assert len(set(marks)) == 4


def test_changes_are_seen_beside_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "nowhere.png")
    write(tmp_path / "b.png")
    before = changes(tmp_path, recursive=False)
    write(tmp_path / "c.png")
    assert changes(tmp_path, recursive=False) != before


def test_a_folder_of_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tastemaker.images.folder.MAX_VISITED", 4)
    for name in ("a.png", "b.md", "deep/c.png", ".hidden"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert len(read_folder(tmp_path).broken) == 1
    with pytest.raises(InputError, match="more than 4 files"):
        read_folder(tmp_path, recursive=True)
    (tmp_path / "more.md").write_bytes(b"")
    many = changes(tmp_path, recursive=False)
    (tmp_path / "f.png").write_bytes(b"")
    assert changes(tmp_path, recursive=False) == many  # nothing was looked at: reading refuses it


# --- pixels -----------------------------------------------------------------------------------


def test_pixels_come_back_exactly(tmp_path: Path) -> None:
    write(tmp_path / "a.png", seed=3)
    pictures = read_folder(tmp_path).pictures
    assert pictures.size(0) == (6, 8)
    assert torch.equal((pictures.picture(0) * 255).round().to(torch.uint8), torch.from_numpy(pixels(3)))
    assert pictures.picture(0).dtype == torch.float32


def test_a_jpeg_stands_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right by a quarter
    image = Image.new("RGB", (40, 20), "red")
    image.paste((0, 0, 255), (0, 0, 20, 20))  # blue on the left, so on top once it is turned
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    pictures = read_folder(tmp_path).pictures
    assert pictures.size(0) == (40, 20)
    picture = pictures.picture(0)
    assert picture.shape == (40, 20, 3)
    assert picture[2, 10, 2] > 0.9 > 0.2 > picture[2, 10, 0]
    assert picture[37, 10, 0] > 0.9


def test_modes_other_than_rgb(tmp_path: Path) -> None:
    rgba = Image.new("RGBA", (4, 4), (10, 20, 30, 0))
    rgba.save(tmp_path / "a_rgba.png")
    Image.new("L", (4, 4), 100).save(tmp_path / "b_grey.png")
    Image.fromarray(np.full((4, 4), 0x8040, np.uint16)).save(tmp_path / "c_16.png")
    Image.new("P", (4, 4), 1).save(tmp_path / "d_palette.png")
    Image.new("CMYK", (4, 4), (0, 0, 0, 0)).save(tmp_path / "e_cmyk.jpg")
    pictures = read_folder(tmp_path).pictures
    first = [(pictures.picture(i)[0, 0] * 255).round().int().tolist() for i in range(5)]
    assert first[0] == [10, 20, 30]  # transparency dropped
    assert first[1] == [100] * 3
    assert first[2] == [0x80] * 3  # the upper eight bits
    assert min(first[4]) >= 250
    assert all(pictures.picture(i).shape == (4, 4, 3) for i in range(5))


def test_sixteen_bits_of_grey_with_a_transparent_one_are_their_upper_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0x8040, np.uint16)).save(tmp_path / "a.png")
    whole, body = (tmp_path / "a.png").read_bytes(), b"tRNS\0\5"
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    for keep_mode in (False, True):
        shown = decode_file(tmp_path / "a.png", keep_mode=keep_mode)
        assert np.asarray(shown.convert("RGB"))[0, 0].tolist() == [0x80] * 3
    assert np.asarray(open_picture(tmp_path / "a.png").convert("RGB"))[0, 0].tolist() == [0x80] * 3
    with Image.open(tmp_path / "a.png") as picture:
        assert from_pil(open_picture(picture))[0, 0, 0].tolist() == pytest.approx([0x80 / 255] * 3)


@pytest.mark.parametrize("where", ["eXIf", "raw profile", "XMP"])
@pytest.mark.parametrize("mode", ["RGB", "I;16"])
def test_a_png_stands_upright_wherever_it_says_so(tmp_path: Path, where: str, mode: str) -> None:
    """Stored 8 wide and 6 high, to be turned by a quarter: 6 wide and 8 high."""
    exif = Image.Exif()
    exif[0x0112] = 6
    info = PngInfo()
    if where == "raw profile":
        profile = exif.tobytes().hex()
        info.add_text("Raw profile type exif", f"\nexif\n{len(profile) // 2:8}\n{profile}\n", zip=True)
    if where == "XMP":
        info.add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
    extra = {"exif": exif} if where == "eXIf" else {}
    grey = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1024
    stored = Image.fromarray(pixels() if mode == "RGB" else grey)
    stored.save(tmp_path / "a.png", pnginfo=info, **extra)
    pictures = read_folder(tmp_path).pictures
    assert pictures.size(0) == (8, 6)
    eight_bits = pixels() if mode == "RGB" else (grey >> 8).astype(np.uint8)[..., None].repeat(3, 2)
    assert np.array_equal(pictures.pixels(0), np.rot90(eight_bits, -1))


def test_a_file_that_goes_away_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png")
    pictures = read_folder(tmp_path).pictures
    write(path, size=(9, 9))
    with pytest.raises(PictureError, match="changed"):
        pictures.picture(0)
    path.unlink()
    with pytest.raises(PictureError, match="cannot be read"):
        pictures.picture(0)


def test_rows_share_what_is_known(tmp_path: Path) -> None:
    import hashlib

    for i in range(3):
        write(tmp_path / f"{i}.png", seed=i)
    pictures = read_folder(tmp_path).pictures
    assert pictures.key(2) == hashlib.sha256((tmp_path / "2.png").read_bytes()).hexdigest()
    some = pictures.rows([2, 0])
    (tmp_path / "2.png").unlink()
    assert some.key(0) == pictures.key(2)
    assert stacked(pictures.rows([0, 1])).shape == (2, 6, 8, 3)


# --- prompts ----------------------------------------------------------------------------------

SAVED = node("SaveImage", images=["8", 0])
SIMPLE = {
    "3": node("KSampler", seed=77, positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
    "6": node("CLIPTextEncode", text="a lighthouse", clip=["4", 1]),
    "7": node("CLIPTextEncode", text="blurry", clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0]),
    "9": SAVED,
}
GRAPHS = {
    "simple": (SIMPLE, "a lighthouse", 77),
    "through a ControlNet": (
        SIMPLE
        | {
            "3": node("KSampler", seed=1, positive=["20", 0], negative=["20", 1], latent_image=["5", 0]),
            "20": node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0]),
        },
        "a lighthouse",
        1,
    ),
    "text from another node": (
        SIMPLE | {"6": node("CLIPTextEncode", text=["30", 0]), "30": node("PrimitiveString", value="a linked text")},
        "a linked text",
        77,
    ),
    "texts joined": (
        SIMPLE
        | {
            "6": node("CLIPTextEncode", text=["30", 0]),
            "30": node("StringConcatenate", string_a="a red", string_b=["31", 0], delimiter=" "),
            "31": node("PrimitiveString", value="star"),
        },
        "a red star",
        77,
    ),
    "SDXL's encoder": (
        SIMPLE | {"6": node("CLIPTextEncodeSDXL", text_g="a wide text", text_l="a wide text")},
        "a wide text",
        77,
    ),
    "custom sampler": (
        SIMPLE
        | {
            "3": node("SamplerCustomAdvanced", guider=["40", 0], noise=["41", 0], latent_image=["5", 0]),
            "40": node("CFGGuider", positive=["6", 0], negative=["7", 0]),
            "41": node("RandomNoise", noise_seed=5),
        },
        "a lighthouse",
        5,
    ),
    "the second of two samplers": (
        SIMPLE
        | {
            "3": node("KSampler", seed=2, positive=["50", 0], negative=["7", 0], latent_image=["51", 0]),
            "50": node("CLIPTextEncode", text="the fine text"),
            "51": node("KSampler", seed=1, positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
        },
        "the fine text",
        2,
    ),
    "our own nodes": (
        {
            "1": node("TastemakerSample", prompts=["2", 0], seed=7),
            "2": node("TastemakerPrompts", text="# note\na small star\n"),
            "3": node("SaveImage", images=["1", 0]),
        },
        "a small star",
        None,
    ),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_the_prompt_of_a_comfyui_graph(name: str) -> None:
    graph, prompt, seed = GRAPHS[name]
    found = find_prompt({"prompt": json.dumps(graph)})
    assert (found.prompt, found.seed, found.why) == (prompt, seed, "")


def test_several_prompts_of_ours_are_not_guessed_between() -> None:
    graph = {
        "1": node("TastemakerSample", prompts=["2", 0]),
        "2": node("TastemakerPrompts", text="one\ntwo"),
        "3": node("SaveImage", images=["1", 0]),
    }
    assert find_prompt({"prompt": json.dumps(graph)}).prompt == ""


def test_the_web_uis_parameters() -> None:
    text = "a cat (sitting:1.2),\non a mat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 123"
    found = find_prompt({"parameters": text})
    assert (found.prompt, found.seed) == ("a cat (sitting:1.2),\non a mat", 123)
    assert find_prompt({"parameters": "a cat\nSteps: 20, Seed: 9"})[:2] == ("a cat", 9)
    assert find_prompt({"parameters": "only words"})[:2] == ("only words", None)
    assert caption(text)[:2] == found[:2]
    assert caption("  a caption \n")[:2] == ("a caption", None)


def test_our_own_record_comes_first() -> None:
    texts = {"tastemaker": json.dumps({"prompt": "exact", "seed": 4}), "prompt": json.dumps(SIMPLE)}
    assert find_prompt(texts)[:2] == ("exact", 4)
    assert find_prompt(texts | {"tastemaker": "[1"})[:2] == ("a lighthouse", 77)


def doubling(depth: int, text: str = "x") -> dict[str, Any]:
    """Each text joined from the one before, twice: 2**depth texts if anybody follows them all."""
    joined = {
        str(i): node("StringConcatenate", string_a=[str(i + 1), 0], string_b=[str(i + 1), 0]) for i in range(depth)
    }
    last = {str(depth): node("PrimitiveString", value=text)}
    return (
        {
            "s": node("KSampler", seed=1, positive=["e", 0], latent_image=["l", 0]),
            "e": node("CLIPTextEncode", text=["0", 0]),
        }
        | joined
        | last
    )


HOSTILE = {
    "not JSON": "{",
    "a list": "[]",
    "deep": "[" * 100_000,
    "a huge number": '{"a": ' + "9" * 10_000 + "}",
    "nodes of the wrong type": json.dumps({"1": 5, "2": None, "3": {"class_type": 7, "inputs": {}}}),
    "inputs of the wrong type": json.dumps({"1": {"class_type": "KSampler", "inputs": [1]}}),
    "links to nowhere": json.dumps({"3": node("KSampler", seed=1, positive=["99", 0], latent_image=["98", 0])}),
    "links of the wrong type": json.dumps(
        {"3": node("KSampler", seed={}, positive=[{}, 0], latent_image=[None, None])}
    ),
    "a circle": json.dumps(
        {
            "3": node("KSampler", seed=1, positive=["4", 0], latent_image=["5", 0]),
            "4": node("ConditioningCombine", conditioning_1=["4", 0]),
        }
    ),
    "a circle of texts": json.dumps(
        SIMPLE | {"6": node("CLIPTextEncode", text=["30", 0]), "30": node("Text", text=["30", 0])}
    ),
    "texts joined without end": json.dumps(doubling(60)),
    "nothing joined without end": json.dumps(doubling(60, "")),
    "a large text joined without end": json.dumps(doubling(60, "x" * 2**22)),
    "many inputs joined without end": json.dumps(
        doubling(60) | {"30": node("StringConcatenate", **{f"i{i}": 0 for i in range(100_000)})}
    ),
    "a long chain": json.dumps(
        {
            "s": node("KSampler", seed=1, positive=["0", 0], latent_image=["l", 0]),
            **{str(i): node("ConditioningCombine", conditioning_1=[str(i + 1), 0]) for i in range(15_000)},
        }
    ),
    "a prompt too long": json.dumps(SIMPLE | {"6": node("CLIPTextEncode", text="x" * 50_000)}),
    "a lone surrogate": '{"3": {"class_type": "KSampler", "inputs": {"seed": 1, "positive": ["6", 0], "latent_image": '
    '["5", 0]}}, "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "\\ud800"}}}',
    "a seed that is none": json.dumps(SIMPLE | {"3": node("KSampler", seed=-1, positive=["99", 0], latent_image=[])}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_metadata_gives_no_prompt_and_a_reason(name: str) -> None:
    with promptly(5):
        found = find_prompt({"prompt": HOSTILE[name]})
    assert found.prompt == ""
    assert found.why


@pytest.mark.parametrize(("length", "found"), [(4999, True), (5000, False)])
def test_joined_texts_are_as_long_as_a_prompt_may_be(length: int, found: bool) -> None:
    """Twice `length` and two of " ": 10,000 characters are the most."""
    graph = doubling(1, "x" * length)
    graph["0"]["inputs"]["delimiter"] = "  "
    assert bool(find_prompt({"prompt": json.dumps(graph)}).prompt) == found


def test_prompts_in_files(tmp_path: Path) -> None:
    write(tmp_path / "1.png", {"prompt": json.dumps(SIMPLE)})
    write(tmp_path / "2.png", {"parameters": "a cat \u732b\nSteps: 5, Seed: 3"})  # not Latin-1: written as iTXt
    exif = Image.Exif()
    exif[0x8769] = {0x9286: b"UNICODE\0" + "a dog\nSteps: 5, Seed: 8".encode("utf-16-be")}
    Image.fromarray(pixels()).save(tmp_path / "3.jpg", exif=exif)
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(SIMPLE)
    Image.fromarray(pixels()).save(tmp_path / "4.webp", exif=exif)
    (tmp_path / "1.txt").write_text("\ufeffa sidecar", encoding="utf-8")
    found = read_folder(tmp_path)
    assert found.prompts == ("a sidecar", "a cat \u732b", "a dog", "a lighthouse")
    assert found.seeds == (None, 3, 8, 77)
    assert read_folder(tmp_path, prompts_from="metadata").prompts[0] == "a lighthouse"
    only = read_folder(tmp_path, prompts_from="txt")
    assert only.prompts == ("a sidecar", "", "", "")
    assert len(only.without_prompt) == 3
    filled = read_folder(tmp_path, prompts_from="txt", default_prompt="a default")
    assert filled.prompts == ("a sidecar", *["a default"] * 3)
    assert filled.without_prompt == ()
    kept = read_folder(tmp_path, prompts_from="txt", without_prompt="leave out")
    assert [f.name for f in kept.pictures.files] == ["1.png"]
    assert len(kept.without_prompt) == 3
    assert read_folder(tmp_path, prompts_from="none").prompts == ("",) * 4


def test_a_bad_sidecar_is_said(tmp_path: Path) -> None:
    for name, data in {"a": b"\xff\xfe", "b": b"x" * 200_000, "c": b"  "}.items():
        write(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_bytes(data)
    why = dict(read_folder(tmp_path).without_prompt)
    assert "UTF-8" in why["a.png"]
    assert "bytes" in why["b.png"]
    assert "empty" in why["c.png"]


# --- PNG chunks -------------------------------------------------------------------------------


def test_a_text_is_put_in_and_nothing_else_changes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", {"workflow": "{}", "tastemaker": "old", "other": "kept"})
    with path.open("rb") as file:
        data = with_text(file, "tastemaker", "n\u732bw")
    (tmp_path / "b.png").write_bytes(data)
    with Image.open(tmp_path / "b.png") as picture:
        assert dict(picture.text) == {"workflow": "{}", "other": "kept", "tastemaker": "n\u732bw"}
        assert np.array_equal(np.asarray(picture), pixels())
    before, after = path.read_bytes(), data
    assert before[before.index(b"IDAT") :] == after[after.index(b"IDAT") :]
    with (tmp_path / "b.png").open("rb") as file:
        assert read_png(file, ["tastemaker", "other"]).texts == {"other": "kept", "tastemaker": "n\u732bw"}


def test_a_packed_text_that_would_fill_memory_is_left_out(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.png").read_bytes()
    body = b"parameters\0\0" + zlib.compress(b"x" * 2**26)
    chunk = struct.pack(">I4s", len(body), b"zTXt") + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    (tmp_path / "a.png").write_bytes(whole[:33] + chunk + whole[33:])
    with (tmp_path / "a.png").open("rb") as file:
        assert read_png(file, ["parameters"]).texts == {}


@pytest.mark.parametrize("cut", [0, 7, 8, 20, 33, 40, -1])
def test_a_cut_png_is_told_from_its_chunks(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "a.png")
    path.write_bytes(path.read_bytes()[:cut])
    with path.open("rb") as file, pytest.raises(PngError):
        read_png(file, [])
