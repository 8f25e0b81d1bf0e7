"""Preference Tune: pictures that are better and pictures that are worse to a LoRA, without a reward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..core.errors import InputError
from ..training import PRESETS, FineTuneConfig, PreferenceConfig
from . import host
from .checked import checked
from .finetune import AUTO, FROM_SETTINGS, HostedReward, fitting_preset, one_text, training_outputs
from .inputs import prompts_input, widgets
from .listing import schema
from .live import LiveRun
from .wires import CATEGORY, PromptList, TasteModel, TasteReward, TasteScores, TasteTraining, TasteVotes, as_prompts

if TYPE_CHECKING:
    import torch

    from ..evaluation.votes.rows import VoteRow
    from ..loaders import DiffusionModel
    from ..ranking import ScoreTable
    from ..rewards import Reward
    from ..training import Preferences
    from ..training.preference.sources import Choice

NO_FOLDER = "none"
ON_NODE = (
    *("epochs", "samples_per_epoch", "pairs_per_prompt", "group_size", "learning_rate", "rank"),
    *("preference_form", "proximal_weight", "beta", "held_out_share", "seed"),
)


class TastemakerPreferenceTune(io.ComfyNode):
    """Teaches a model what is preferred."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="TastemakerPreferenceTune",
            display_name="Preference Tune",
            category=CATEGORY,
            description="Teaches a model what you prefer, from pictures you have: better and worse ones of the same "
            "prompts. No reward is needed, and no picture is made to learn from. The result is a LoRA.",
            is_output_node=True,
            hidden=[io.Hidden.unique_id],
            inputs=[
                TasteModel.Input("model", tooltip="From Load Taste Model. It stays as it is."),
                TasteScores.Input(
                    "better",
                    optional=True,
                    tooltip="Pictures that are better, from Score or Rank. Without worse below: a ranked table, whose "
                    "best pictures of each prompt are compared with its worst.",
                ),
                TasteScores.Input(
                    "worse",
                    optional=True,
                    tooltip="Pictures that are worse, of the same prompts. Each goes with a better one of its prompt, "
                    "of the same seed where there is one.",
                ),
                TasteVotes.Input(
                    "votes",
                    optional=True,
                    tooltip="From Vote: its votes say which picture of each pair is better. Connect the two tables "
                    "that go into Vote to better and worse, either way round.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the better pictures are better: white counts, black does not. One for all, or one "
                    "for each picture of better.",
                ),
                io.Combo.Input(
                    "folder",
                    options=[NO_FOLDER, *_folders()],
                    default=NO_FOLDER,
                    tooltip="Instead of tables: a folder below ComfyUI's input folder with sub-folders w (better) and "
                    "l (worse), pictures of the same names in both, captions in .txt files beside them.",
                ),
                io.String.Input(
                    "run_name",
                    default="my preference",
                    tooltip="Folder of this run in output/tastemaker/runs. The same name goes on where it stopped; a "
                    "new name starts anew.",
                ),
                io.Combo.Input(
                    "preset",
                    options=[AUTO, *PRESETS, FROM_SETTINGS],
                    default=AUTO,
                    tooltip="How much graphics memory there is: sets picture size, batch sizes and the layers that "
                    "learn. auto looks; from settings sets nothing.",
                ),
                *widgets(PreferenceConfig, *ON_NODE),
                TasteTraining.Input(
                    "settings",
                    optional=True,
                    tooltip="From Fine-Tune Settings: everything that is rarely changed. What is about rewards there "
                    "has no effect here.",
                ),
                prompts_input(
                    "For the comparison by watched_reward: prompts to make pictures of. Without them those whose pairs "
                    "are held out.",
                    "held_out_prompts",
                    optional=True,
                ),
                TasteReward.Input(
                    "watched_reward",
                    optional=True,
                    tooltip="A reward to compare the tuned model's pictures with the untrained one's by. Nothing is "
                    "learned from it.",
                ),
            ],
            outputs=training_outputs(),
        )

    @classmethod
    def validate_inputs(cls, folder: object = None) -> bool:
        """Leave the check of `folder` to execute, which says what to do; newer hosts only say `not in list`."""
        return True

    @classmethod
    def fingerprint_inputs(cls, folder: Any = NO_FOLDER, **others: Any) -> str:
        """Run again when a picture or a text in the folder comes, goes or changes."""
        from ..images.folder import changes

        try:
            return "" if folder == NO_FOLDER else changes(host.picture_folder(folder), recursive=True)
        except InputError as e:  # execute says it to the user
            return str(e)

    @classmethod
    @checked(looked_up=("folder",), called={"run_folder": "run_name", "preferences": "better", "images": "better"})
    def execute(
        cls,
        model: DiffusionModel,
        folder: str,
        run_name: str,
        preset: str,
        better: ScoreTable | None = None,
        worse: ScoreTable | None = None,
        votes: str | None = None,
        mask: torch.Tensor | None = None,
        settings: FineTuneConfig | None = None,
        held_out_prompts: PromptList | str | None = None,
        watched_reward: Reward | None = None,
        **on_node: Any,
    ) -> io.NodeOutput:
        from ..training import preference_tune
        from ..training.preference.config import with_preset
        from ..training.preference.tune import with_size_of

        name = {AUTO: fitting_preset(), FROM_SETTINGS: ""}.get(preset, preset)
        config = with_preset(name, settings, model, **on_node)
        masks = None if mask is None else mask.float().cpu().reshape(-1, *mask.shape[-2:])
        preferences = _preferences(better, worse, votes, folder, masks, config)
        texts = None if held_out_prompts is None else as_prompts(held_out_prompts).texts
        text = ""
        if not model.conditional and texts:
            text, texts = one_text(texts, "held_out_prompts"), None
        path = host.run_folder(run_name)
        live = LiveRun(cls.hidden.unique_id, config.epochs, path)
        with host.loading():
            run = preference_tune(
                model,
                preferences,
                with_size_of(config, preferences, model),
                run_folder=path,
                place=host.in_use,
                progress=live,
                held_out_prompts=texts,
                watched_reward=None if watched_reward is None else HostedReward(watched_reward, text),
            )
            return live.trained(run)


def _folders() -> list[str]:
    """Return the host's input folder and those below it."""
    return [name for name in host.picture_folders() if name.partition("/")[0] == "input"]


def _preferences(
    better: ScoreTable | None,
    worse: ScoreTable | None,
    votes: str | None,
    folder: str,
    masks: torch.Tensor | None,
    config: PreferenceConfig,
) -> Preferences:
    """Make preferences of what is connected. Raises InputError for nothing, and for what does not go together."""
    from ..training.preference import sources

    tables = [table for table in (better, worse) if table is not None]
    if folder != NO_FOLDER:
        if tables or votes is not None:
            raise InputError("folder", folder, "Pairs come from one place: set it to none, or disconnect the tables.")
        if folder.partition("/")[0] != "input":
            raise InputError("folder", folder, "Pick a folder below ComfyUI's input folder.")
        return sources.from_folder(host.picture_folder(folder), masks, host.HostProgress())
    if not tables:
        advice = "Connect Score or Rank, or pick a folder of pairs."
        raise InputError("better", "nothing", advice if votes is None else f"votes need their pictures. {advice}")
    if votes is not None:
        return sources.from_choices(_choices(votes), tables, masks)
    if better is None:
        raise InputError("better", "nothing", "Connect the better pictures here; worse alone says nothing.")
    if worse is not None:
        return sources.from_tables(better, worse, masks)
    return sources.from_ranked(
        better, group_size=config.group_size, pairs_per_prompt=config.pairs_per_prompt, masks=masks
    )


def _choices(study: str) -> list[Choice]:
    """Read what was voted in a study; skipped pairs say nothing."""
    from ..evaluation.votes.store import Study
    from ..evaluation.votes.votes import SKIP

    host.check_plain_name("votes", study)
    with Study(host.study_file(study), create=False) as file:
        return [_choice(row) for row in file.rows() if row.pick != SKIP]


def _choice(row: VoteRow) -> Choice:
    from ..evaluation.votes.votes import SECOND, TIE
    from ..training.preference.sources import Choice

    better, worse = reversed(row.pair.pictures) if row.pick == SECOND else row.pair.pictures
    return Choice(row.pair.prompt, better, worse, tie=row.pick == TIE)
