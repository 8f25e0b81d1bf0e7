"""The ComfyUI nodes. Each translates widgets into library calls; `host` is the door to ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .compare import TastemakerCompare
from .evaluate import TastemakerEvaluate
from .fid import TastemakerFID
from .finetune import TastemakerFineTune, TastemakerFineTuneSettings, TastemakerRewardCurve
from .grid import TastemakerGrid
from .load import TastemakerLoadModel
from .load_images import TastemakerLoadImages
from .lora import TastemakerLoadLoRA
from .native import TastemakerToNative
from .portfolio import TastemakerPortfolio
from .preference import TastemakerPreferenceTune
from .prompts import TastemakerPrompts
from .rank import TastemakerRank
from .report import TastemakerReport
from .reward import TastemakerCombineRewards, TastemakerLoadReward
from .sample import TastemakerSample, TastemakerSampleOptions
from .save import TastemakerSaveRanked
from .score import TastemakerScore
from .search import TastemakerSearch, TastemakerSearchSettings
from .taste import TastemakerLearnTaste
from .vote import TastemakerVote, TastemakerVoteResult
from .why import TastemakerWhy

NODES: tuple[type[io.ComfyNode], ...] = (
    TastemakerLoadModel,
    TastemakerLoadLoRA,
    TastemakerPrompts,
    TastemakerSample,
    TastemakerSampleOptions,
    TastemakerSearch,
    TastemakerSearchSettings,
    TastemakerLoadReward,
    TastemakerCombineRewards,
    TastemakerLoadImages,
    TastemakerScore,
    TastemakerRank,
    TastemakerSaveRanked,
    TastemakerWhy,
    TastemakerToNative,
    TastemakerFineTune,
    TastemakerFineTuneSettings,
    TastemakerPreferenceTune,
    TastemakerRewardCurve,
    TastemakerCompare,
    TastemakerGrid,
    TastemakerVote,
    TastemakerVoteResult,
    TastemakerLearnTaste,
    TastemakerPortfolio,
    TastemakerEvaluate,
    TastemakerFID,
    TastemakerReport,
)


class TastemakerExtension(ComfyExtension):
    """The pack, as ComfyUI asks for it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return list(NODES)
