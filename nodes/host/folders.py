"""The host's folders: models, input, output and what the pack keeps below them.

No widget is a path: each is a name of a list, or becomes a part of a path that stays inside a folder of the host's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ...core.errors import InputError
from ...core.files import unwritable

# --- models -----------------------------------------------------------------------------------

_SAFE = (".safetensors",)
_ENDINGS = {"rewards": (*_SAFE, ".pt", ".pth", ".bin")}  # some official rewards exist as pickles only


def model_folders() -> dict[str, Path]:
    """Return the Diffusers model folders in the host's `models/diffusers` by name, two levels deep."""
    import folder_paths

    found: dict[str, Path] = {}
    for root in folder_paths.get_folder_paths("diffusers"):
        base = Path(root)
        for index in sorted([*base.glob("*/model_index.json"), *base.glob("*/*/model_index.json")]):
            found.setdefault(index.parent.relative_to(base).as_posix(), index.parent)
    return found


def weight_names(kind: str) -> list[str]:
    """Return the weight files in the host's `models/<kind>`, by the names the host gives them."""
    import folder_paths

    if kind == "rewards":
        reward_folders()
    endings = _ENDINGS.get(kind, _SAFE)
    return [name for name in folder_paths.get_filename_list(kind) if name.lower().endswith(endings)]


def weight_file(kind: str, name: object) -> Path | None:
    """Return where a file of that list is; None for every other name."""
    import folder_paths

    path = folder_paths.get_full_path(kind, name) if name in weight_names(kind) else None
    return Path(path) if path else None


def reward_folders() -> list[Path]:
    """Return the host's `models/rewards` folders; the first call adds that kind of folder to the host's."""
    import folder_paths

    folder_paths.add_model_folder_path("rewards", os.path.join(folder_paths.models_dir, "rewards"))
    # a new kind of folder lists every file in it until it has endings
    folder_paths.folder_names_and_paths["rewards"][1].update(_ENDINGS["rewards"])
    return [Path(folder) for folder in folder_paths.get_folder_paths("rewards")]


# --- pictures ---------------------------------------------------------------------------------

MAX_LISTED_FOLDERS = 1000
_MAX_LISTED_DEPTH = 4


def picture_folders() -> list[str]:
    """Return the host's input and output folders and those below them: `"output"`, `"output/portraits"`, ..."""
    import folder_paths

    roots = (("input", folder_paths.get_input_directory()), ("output", folder_paths.get_output_directory()))
    found = [kind for kind, _ in roots]
    row = [(kind, Path(root)) for kind, root in roots]
    for _ in range(_MAX_LISTED_DEPTH):
        below = []
        for name, folder in row:
            named = [(f"{name}/{entry}", folder / entry) for entry in _sub_folders(folder)]
            below += [pair for pair in named if _is_pickable(pair[0])]
        row = below[: max(0, MAX_LISTED_FOLDERS - len(found))]
        found += [name for name, _ in row]
    return [found[0], *sorted(found[1:], key=str.casefold)]


def _sub_folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder; links are left out."""
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


def picture_folder(name: object) -> Path:
    """Return the folder that a name of that list stands for. Raises InputError.

    The host does not check what a widget holds, so nothing about the name is taken for granted here.
    """
    import folder_paths

    advice = "Pick one of the folders below ComfyUI's input or output folder."
    parts = name.split("/") if isinstance(name, str) and _is_pickable(name) else [""]
    if parts[0] not in ("input", "output"):
        raise InputError("folder", name, advice)
    get = folder_paths.get_input_directory if parts[0] == "input" else folder_paths.get_output_directory
    folder = _inside(get(), *parts[1:])
    if folder is None:
        raise InputError("folder", name, "A link there leads out of ComfyUI's folder, so it is not followed.")
    if not folder.is_dir():
        raise InputError("folder", name, f"There is no such folder. {advice} Reload the page for new ones.")
    return folder


def _inside(root: str, *parts: str) -> Path | None:
    """Return the real place of some parts below a folder; None where a link leads out of it."""
    real = os.path.realpath(root)
    path = os.path.realpath(os.path.join(real, *parts))
    return Path(path) if os.path.commonpath([path, real]) == real else None


# --- what is written --------------------------------------------------------------------------

RUNS, STUDIES, EVALUATIONS, TASTES = (f"tastemaker/{kind}" for kind in ("runs", "votes", "evaluations", "tastes"))
_MAX_LISTED_TASTES = 500


def score_cache() -> Path:
    """Return the file in which scores are kept: in a folder of the host's that its page cannot read."""
    import folder_paths

    return Path(folder_paths.get_user_directory()) / "__tastemaker" / "scores.sqlite"


def cells_folder() -> Path:
    """Return the folder in which the pictures of grids are kept: beside the scores."""
    return score_cache().with_name("cells")


def output_place(filename_prefix: str, width: int, height: int) -> tuple[Path, str, int]:
    """Return where to save under the output folder: (folder, file stem, counter).

    Raises InputError when the prefix is no file name or leads outside the output folder, by a
    symbolic link too.
    """
    import folder_paths

    check_prefix(filename_prefix)
    root = folder_paths.get_output_directory()
    # the host makes the folder, so where it would lead is checked before
    if _inside(root, os.path.dirname(filename_prefix)) is None:
        raise InputError("filename_prefix", filename_prefix, "It must stay inside the output folder.")
    try:
        folder, stem, counter, _, _ = folder_paths.get_save_image_path(filename_prefix, root, width, height)
    except OSError as e:
        raise InputError("filename_prefix", filename_prefix, f"That folder cannot be used ({unwritable(e)}).") from e
    return Path(folder), stem, counter


def run_folder(run_name: object) -> Path:
    """Return the folder of a training run under the output folder; it need not exist yet.

    Raises InputError for what is no plain name, or leads outside through a symbolic link.
    """
    check_plain_name("run_name", run_name)
    return _below_output("run_name", run_name, RUNS, str(run_name))


def study_file(study: object) -> Path:
    """Return the file of a study of votes under the output folder; it need not exist yet. Raises as `run_folder`."""
    check_plain_name("study", study)
    return _below_output("study", study, STUDIES, f"{study}.sqlite")


def taste_file(name: object) -> Path:
    """Return the file of a taste under the output folder; it need not exist yet. Raises as `run_folder`."""
    check_plain_name("name", name)
    return _below_output("name", name, TASTES, f"{name}.safetensors")


def taste_names() -> list[str]:
    """Return the names of the tastes that are saved, in their order; what has no plain name is left out."""
    try:
        folder = _below_output("name", None, TASTES)
        found = sorted(p.stem for p in folder.glob("*.safetensors") if p.is_file() and not p.is_symlink())
    except (InputError, OSError):
        return []
    return [name for name in found if _PLAIN.fullmatch(name) and not _is_reserved(name)][:_MAX_LISTED_TASTES]


def evaluations_folder(title: object = None, within: str = "") -> Path:
    """Return the folder of all evaluations, of those of one title, or a folder `within`. Raises as `run_folder`."""
    if title is None:
        return _below_output("title", within or None, EVALUATIONS, within)
    check_plain_name("title", title)
    return _below_output("title", title, EVALUATIONS, str(title))


def _below_output(name: str, value: object, *parts: str) -> Path:
    """Return a place under the output folder. Raises InputError, for the input `name`, where a link leads out of it."""
    import folder_paths

    path = _inside(folder_paths.get_output_directory(), *parts)
    if path is None:
        raise InputError(name, value, "Its place must stay inside the output folder.")
    return path


# --- names --------------------------------------------------------------------------------------

_RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{d}{i}" for d in ("COM", "LPT") for i in range(1, 10))}
_FORBIDDEN = set('<>:"|?*\\')
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,63}")


def check_plain_name(name: str, value: object) -> None:
    """Raise InputError, for the input `name`, unless a value is a plain file name on every system."""
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value[-1] not in " ."
    if not plain or _is_reserved(str(value)):
        advice = "Letters, digits, spaces, . _ and -, a letter or digit first, at most 64 characters."
        raise InputError(name, value, advice)


def check_prefix(prefix: str) -> None:
    """Raise InputError unless every part of a filename_prefix is a plain file name on every system."""
    good = 0 < len(prefix) <= 180 and prefix.isprintable() and not _FORBIDDEN & set(prefix)
    if not good or not all(_is_plain(part) for part in prefix.split("/")):
        advice = "Use letters, digits, spaces, . _ - and / for sub-folders, at most 180 characters."
        raise InputError("filename_prefix", prefix, advice)


def _is_pickable(name: str) -> bool:
    """Return whether every part of a folder's name is one that a widget can show, and none starts with a dot."""
    parts = name.split("/")
    plain = all(p and p.isprintable() and not p.startswith(".") and not _FORBIDDEN & set(p) for p in parts)
    return plain and len(name) <= 1000


def _is_plain(part: str) -> bool:
    return bool(part.strip(" .")) and part == part.strip() and not part.endswith(".") and not _is_reserved(part)


def _is_reserved(part: str) -> bool:
    return part.split(".")[0].strip().upper() in _RESERVED
