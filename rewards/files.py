"""The official files that a reward is read from: their names, where to get them, where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import ModelFileError

_PLACE = "ComfyUI/models/rewards"


@dataclass(frozen=True)
class RewardFile:
    """One file or folder of a reward.

    Attributes:
        names: what it is called in `models/rewards`, best first; a folder's name stands for transformers' layout.
        command: downloads it there.
        gigabytes: its size.
    """

    names: tuple[str, ...]
    command: str
    gigabytes: float

    def find(self, folders: Sequence[Path]) -> Path | None:
        """Where it is in one of the folders; None where it is not."""
        places = (folder / name for name in self.names for folder in folders)
        return next((place for place in places if place.is_file() or (place / "config.json").is_file()), None)


def _hub(repository: str, *files: str, folder: str = "") -> str:
    return " ".join(["hf download", repository, *files, "--local-dir", f"{_PLACE}/{folder}".rstrip("/")])


def _web(address: str, name: str) -> str:
    return f'curl -L -o "{_PLACE}/{name}" "{address}"'


_CLIP_FILES = ("config.json", "model.safetensors")

IMAGEREWARD = RewardFile(
    ("ImageReward.safetensors", "ImageReward.pt"),
    _hub("THUDM/ImageReward", "ImageReward.pt", "med_config.json"),
    1.8,
)
CLIP_LARGE = RewardFile(
    ("clip-vit-large-patch14", "clip-vit-large-patch14.safetensors"),
    _hub("openai/clip-vit-large-patch14", *_CLIP_FILES, folder="clip-vit-large-patch14"),
    1.7,
)
PICKSCORE = RewardFile(
    ("PickScore_v1", "PickScore_v1.safetensors"),
    _hub("yuvalkirstain/PickScore_v1", *_CLIP_FILES, folder="PickScore_v1"),
    3.9,
)
HPS = RewardFile(
    ("HPS_v2.1_compressed.safetensors", "HPS_v2.1_compressed.pt"),
    _hub("xswu/HPSv2", "HPS_v2.1_compressed.pt"),
    2.0,
)
BLIP_LARGE = RewardFile(
    ("model_large.safetensors", "model_large.pth"),
    _web("https://storage.googleapis.com/sfr-vision-language-research/BLIP/models/model_large.pth", "model_large.pth"),
    3.8,
)
AESTHETIC_HEAD = RewardFile(
    ("sac+logos+ava1-l14-linearMSE.safetensors", "sac+logos+ava1-l14-linearMSE.pth"),
    _web(
        "https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
        "sac%2Blogos%2Bava1-l14-linearMSE.pth",
        "sac+logos+ava1-l14-linearMSE.pth",
    ),
    0.004,
)


def find_files(name: str, files: Sequence[RewardFile], source: Path | Sequence[Path] | None) -> list[Path]:
    """Where the files of the reward `name` are.

    `source` is a folder or several; the first may be the first file itself, and the others are looked for beside
    it too.
    Raises ModelFileError naming what is not there and the command that gets it.
    """
    given = [source] if isinstance(source, (str, Path)) else list(source or ())
    places = [Path(place) for place in given]
    found: list[Path] = []
    left = list(files)
    if places and (places[0].is_file() or (places[0] / "config.json").is_file()):
        found, left, places = [places[0]], left[1:], [places[0].parent, *places[1:]]
    elif isinstance(source, (str, Path)) and not places[0].exists():
        raise ModelFileError(f"{name}: there is no {places[0].name} in {places[0].parent.name}.")
    for file in left:
        place = file.find(places)
        if place is None:
            raise ModelFileError(
                f"{name} needs {' or '.join(file.names)} in models/rewards, which is not there. To get it "
                f"({file.gigabytes:g} GB), run this beside the ComfyUI folder: {file.command}\n"
            )
        found.append(place)
    return found
