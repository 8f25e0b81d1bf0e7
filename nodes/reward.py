"""Load Reward and Combine Rewards."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from comfy_api.latest import io

from ..core.errors import InputError
from ..loaders.formats.fingerprint import changes
from ..ranking.selection import GROUPINGS
from ..rewards import REWARDS, load_reward
from . import host
from .checked import checked
from .inputs import dtype_input, dtype_of
from .listing import schema
from .taste import saved_tastes, taste_path
from .wires import CATEGORY, TasteReward

if TYPE_CHECKING:
    from ..rewards import Reward

AUTO = "auto"
COUNT = 4  # rewards that one Combine Rewards takes

# two nodes that load the same thing share it while anybody holds it
_rewards: WeakValueDictionary[tuple[Any, ...], Reward] = WeakValueDictionary()


def _sources(name: str, file: str) -> list[Path]:
    """Return where a reward's files are looked for: the chosen file, then the host's folders. Raises InputError."""
    folders = host.reward_folders()
    if file == AUTO:
        return folders
    path = host.weight_file("rewards", file)
    if path is None:
        there = ", ".join(host.weight_names("rewards")[:20]) or "none"
        raise InputError("file", file, f"There is no such file in models/rewards. There are: {there}. Reload the page.")
    if not REWARDS[name].files:
        raise InputError("file", file, f"{name} is read from no file of yours. Set file to {AUTO}.")
    return [path, *folders]


class TastemakerLoadReward(io.ComfyNode):
    """Loads a reward."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerLoadReward",
            display_name="Load Reward",
            category=CATEGORY,
            description="Loads a model that scores how well a picture fits its prompt and how much people like it.",
            inputs=[
                io.Combo.Input(
                    "reward",
                    options=[*REWARDS, *saved_tastes()],
                    default=next(iter(REWARDS)),
                    tooltip="tiny-imagereward and tiny-aesthetic come with the pack and know the pictures of the "
                    "embedded models; the JPEG ones need no files. The others are read from ComfyUI/models/rewards. "
                    "What begins with taste: was learned by Learn Taste; reload the page for new ones.",
                ),
                dtype_input(
                    "Number format of the network. auto is float16 on a GPU; on a CPU it is bfloat16 where the CPU "
                    "has instructions for it, else float32. tiny-imagereward is float32 on every CPU."
                ),
                io.Combo.Input(
                    "file",
                    options=[AUTO, *host.weight_names("rewards")],
                    default=AUTO,
                    optional=True,
                    tooltip="auto finds the official file of the reward by its name in ComfyUI/models/rewards. Pick "
                    "one where yours has another name.",
                ),
            ],
            outputs=[
                TasteReward.Output(display_name="reward"),
                io.String.Output(display_name="about", tooltip="What its scores mean: connect Preview as Text."),
            ],
        )

    @classmethod
    def validate_inputs(cls, reward: object = None, file: object = None) -> bool:
        """Leave the checks of `reward` and `file` to execute, which says what to do; newer hosts say `not in list`."""
        return True

    @classmethod
    def fingerprint_inputs(cls, reward: str, dtype: str, file: str = AUTO) -> str:
        """Run again when a file of the reward changes on disk, or comes or goes."""
        known = REWARDS.get(reward) if isinstance(reward, str) else None
        taste = _taste_file(reward)
        if taste is not None:
            return f"{reward}:{dtype}:{changes(taste)}"
        folders = host.reward_folders()
        found = [host.weight_file("rewards", file)] if file != AUTO else []
        found += [official.find(folders) for official in known.files] if known is not None else []
        return f"{reward}:{dtype}:{file}:{[path and (str(path), changes(path)) for path in found]}"

    @classmethod
    @checked(looked_up=("file", "reward"))
    def execute(cls, reward: str, dtype: str, file: str = AUTO) -> io.NodeOutput:
        taste = _taste_file(reward)
        if taste is not None:
            loaded = _load_taste(taste, dtype)
            return io.NodeOutput(loaded, _about(loaded))
        loaded = _load(reward, dtype, file, cls.fingerprint_inputs(reward, dtype, file))
        return io.NodeOutput(loaded, _about(loaded))


def _taste_file(reward: object) -> Path | None:
    """Return the file of a saved taste; None for a reward that is none. Raises InputError where it is not there."""
    path = taste_path(reward) if isinstance(reward, str) else None
    if path is not None and not path.is_file():
        there = ", ".join(saved_tastes()[:20]) or "none"
        raise InputError("reward", reward, f"There is no such taste in output/tastemaker/tastes. There are: {there}.")
    return path


def _load_taste(path: Path, dtype: str) -> Reward:
    """Load a taste and the rewards that it needs. Raises InputError, ModelFileError."""
    from ..taste import read_taste

    taste = read_taste(path)
    unknown = [name for name in taste.needs if name not in REWARDS]
    if unknown:
        advice = f"It needs {unknown[0]}, which this version of Tastemaker does not know."
        raise InputError("reward", path.stem, advice)
    needed = [_load(name, dtype, AUTO, TastemakerLoadReward.fingerprint_inputs(name, dtype)) for name in taste.needs]
    return taste.reward(needed)


def _load(reward: str, dtype: str, file: str, state: str) -> Reward:
    """Load a reward of the registry, or return the one that somebody holds. Raises InputError, ModelFileError."""
    if reward not in REWARDS:
        raise InputError("reward", reward, f"Pick one of {', '.join([*REWARDS, *saved_tastes()])}.")
    sources = _sources(reward, file)
    # a small network gains nothing from half precision on a CPU
    wanted = dtype_of(dtype, exact=not REWARDS[reward].files)
    key = (wanted, state)
    loaded = _rewards.get(key)
    if loaded is None:
        with host.loading():
            loaded = load_reward(reward, source=sources, dtype=wanted)
        _rewards[key] = loaded
    return loaded


def _about(reward: Reward) -> str:
    lines = [reward.name, reward.meaning]
    lines += [f"source: {reward.source}"] if reward.source else []
    lines.append("compares a picture with its prompt" if reward.needs_prompt else "reads no prompt")
    if reward.statistics is not None:
        s = reward.statistics
        lines.append(f"usual mean {s.mean:g}, standard deviation {s.std:g} ({s.source})")
    return "\n".join(lines)


def _member_inputs(number: int) -> list[io.Input]:
    return [
        TasteReward.Input(f"reward_{number}", optional=number > 2, tooltip="From Load Reward."),
        io.Float.Input(
            f"weight_{number}",
            default=1.0,
            min=-100.0,
            max=100.0,
            step=0.05,
            optional=number > 2,
            tooltip=f"How much reward_{number} counts. Below 0 it punishes.",
        ),
    ]


class TastemakerCombineRewards(io.ComfyNode):
    """Makes one reward of several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        from ..rewards.combined import MODES

        members = [widget for number in range(1, COUNT + 1) for widget in _member_inputs(number)]
        return schema(
            node_id="TastemakerCombineRewards",
            display_name="Combine Rewards",
            category=CATEGORY,
            description="One reward of several, weighted against each other. Score shows the sum and every part.",
            inputs=[
                *members,
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default=MODES[0],
                    tooltip="How rewards of different ranges are made comparable. ranks: each picture's place in its "
                    "group. batch: (score - mean) / standard deviation of its group. standardised: the same with the "
                    "reward's usual mean and standard deviation, where known; scores then compare between runs.",
                ),
                io.Combo.Input(
                    "group_by",
                    options=list(GROUPINGS),
                    default=GROUPINGS[0],
                    tooltip="The groups of ranks and batch: pictures of one prompt, or all that are scored together.",
                ),
            ],
            outputs=[
                TasteReward.Output(display_name="reward"),
                io.String.Output(display_name="about", tooltip="What its scores mean: connect Preview as Text."),
            ],
        )

    @classmethod
    @checked(called={"weights": "weight_1"})
    def execute(cls, mode: str, group_by: str, **members: Any) -> io.NodeOutput:
        from ..rewards import combine

        weighted: list[tuple[Reward, float]] = []
        taken: set[str] = set()
        for number in range(1, COUNT + 1):
            reward = members.get(f"reward_{number}")
            if reward is None:
                continue
            twice = sorted(taken.intersection(reward.column_names))
            if twice:
                advice = "Two columns would have this name; every reward counts once."
                raise InputError(f"reward_{number}", twice[0], advice)
            taken.update(reward.column_names)
            weighted.append((reward, members.get(f"weight_{number}", 1.0)))
        names = (f"combined {n}" if n > 1 else "combined" for n in itertools.count(1))
        combined = combine(weighted, mode=mode, group_by=group_by, name=next(n for n in names if n not in taken))
        return io.NodeOutput(combined, _about(combined))
