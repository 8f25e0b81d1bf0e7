"""The settings of a fine-tuning run, one field each: widgets, limits, options and tooltips come from here."""

from __future__ import annotations

from dataclasses import dataclass

from ..core.settings import MAX_SEED, setting
from ..sampling.schedulers import MODEL_DEFAULT, SCHEDULERS, names_where
from ..sampling.settings import MAX_SIDE
from .algorithms.registry import ALGORITHMS

TRAINABLE = names_where("trains")  # schedulers whose steps have log-probabilities
ADVANTAGES = ("group", "prompt", "batch")
TARGETS = ("attention", "transformer", "all")
PARTS = ("lora", "full")
SWITCH = ("off", "on")
GUARD = ("auto", "on", "off")
FRESH_NOISE = ("everywhere", "window")
GRADIENT_FORMS = ("draft_1", "draft_lv", "direct_align")
MATCHING_FORMS = ("nft", "awm", "regression")
OLD_LOG_PROBS = ("auto", "rollout", "recompute")
KL_GATES = ("off", "disagreement")


@dataclass(frozen=True)
class FineTuneFields:
    """Hold the settings; `FineTuneConfig` checks them."""

    epochs: int = setting(20, "Rounds of sampling, scoring and learning.", low=1, high=100_000)
    samples_per_epoch: int = setting(
        64, "Pictures made and scored in each epoch. More is slower and steadier.", low=2, high=65_536
    )
    group_size: int = setting(
        8,
        "Pictures of one prompt in an epoch, compared with each other. samples_per_epoch is a multiple of it.",
        low=1,
        high=4096,
    )
    steps: int = setting(
        12, "Denoising steps while training. Few are fast; sample with more afterwards.", low=2, high=1000
    )
    scheduler: str = setting(
        "ddim",
        "How noise is removed while training: ddim, ddpm or euler_ancestral, whose steps are random, so that "
        "there is something to learn from. model default works if it is one of these. algorithm matching and "
        "reward_gradient take any.",
        options=(*TRAINABLE, MODEL_DEFAULT, *(name for name in SCHEDULERS if name not in TRAINABLE)),
    )
    eta: float = setting(
        1.0, "Fresh noise in each ddim step, above 0. Only ddim uses it.", low=0.0, high=1.0, step=0.05
    )
    guidance_scale: float = setting(
        4.0, "How strictly pictures follow the prompt, in sampling and in learning alike. 1 is off.",
        low=1.0, high=50.0, step=0.1,
    )  # fmt: skip
    height: int = setting(0, "Height in pixels. 0 is the size the model was trained at.", low=0, high=MAX_SIDE, step=8)
    width: int = setting(0, "Width in pixels. 0 is the size the model was trained at.", low=0, high=MAX_SIDE, step=8)
    learning_rate: float = setting(
        3e-4,
        "How far each update goes. More learns faster and breaks pictures sooner. Try 1e-5 for a full fine-tune.",
        low=1e-9,
        high=1.0,
        step=1e-7,
    )
    rank: int = setting(16, "Size of the LoRA: 4 to 16 suffice for a taste, 32 and more for a style.", low=1, high=1024)
    alpha: float = setting(
        0.0,
        "LoRA alpha; what is learned counts alpha / rank times. 0 is the rank itself.",
        low=0.0,
        high=4096.0,
        step=0.5,
    )
    targets: str = setting(
        "transformer",
        "Layers the LoRA changes. attention: the attention projections. transformer: whole transformer blocks. "
        "all: convolutions and embeddings too.",
        options=TARGETS,
    )
    train: str = setting(
        "lora",
        "lora learns a small file beside the model. full changes a float32 copy of the whole network: much memory.",
        options=PARTS,
    )
    algorithm: str = setting(
        "clipped",
        " ".join(f"{name}: {known.tip}" for name, known in ALGORITHMS.items()),
        options=ALGORITHMS,
    )
    clip_range: float = setting(
        1e-4,
        "How far a step's probability may move in one epoch, stated for 512 px pictures of SDXL (16,384 numbers); "
        "it is multiplied by 16,384 / numbers, so that it means the same at every size.",
        low=1e-8,
        high=1.0,
        step=1e-7,
    )
    advantages: str = setting(
        "group",
        "What a score is compared with. group: pictures of the same prompt in this epoch. prompt: the prompt's "
        "recent epochs. batch: all pictures of this epoch.",
        options=ADVANTAGES,
    )
    advantage_clip: float = setting(
        5.0,
        "Scores further than this many standard deviations away count as this.",
        low=0.1,
        high=100,
        step=0.5,
    )
    min_spread: float = setting(
        0.0,
        "Least standard deviation to divide scores by, in the reward's own units: a fifth of that at the start keeps a "
        "run that has got what it wanted from wandering. 0 is off.",
        low=0.0,
        high=1e6,
        step=0.01,
    )
    history: int = setting(32, "advantages prompt: how many scores of a prompt are remembered.", low=2, high=4096)
    min_history: int = setting(
        16, "advantages prompt: with fewer scores remembered, the whole batch is the comparison.", low=2, high=4096
    )
    kl_weight: float = setting(
        0.0,
        "Holds the model near where it started, against pictures that please the reward and nobody else: "
        "0.01 to 0.04 is usual, 0 is off. Learning takes a third longer with it.",
        low=0.0,
        high=100.0,
        step=0.001,
    )
    timestep_fraction: float = setting(
        0.5, "Share of each picture's steps that is learned from. 0.2 is two to three times as fast.",
        low=0.01, high=1.0, step=0.01,
    )  # fmt: skip
    window_start: float = setting(
        0.0, "Learn only from steps after this share of the denoising.", low=0.0, high=0.99, step=0.01
    )
    window_stop: float = setting(
        1.0, "Learn only from steps before this share of the denoising.", low=0.01, high=1.0, step=0.01
    )
    fresh_noise: str = setting(
        "everywhere",
        "Which ddim steps draw fresh noise. window: only those that can be learned from, so that scores differ by "
        "nothing else and pictures are cleaner.",
        options=FRESH_NOISE,
    )
    shared_start: str = setting(
        "off",
        "on: the group_size pictures that are compared with each other start from the same noise, so that scores "
        "differ only by what is learned from.",
        options=SWITCH,
    )
    learn_from: float = setting(
        1.0,
        "Share of an epoch's pictures that is learned from: those that stand out most, for better or worse. 0.5 takes "
        "half the time and loses little.",
        low=0.01,
        high=1.0,
        step=0.01,
    )
    updates_per_epoch: int = setting(4, "Optimizer steps in each epoch.", low=1, high=1000)
    train_batch_size: int = setting(
        16,
        "Steps of pictures in one forward pass of learning. Less needs less memory, and changes only rounding. 0 is as "
        "many as fit, 16 at most.",
        low=0, high=4096,
    )  # fmt: skip
    rollout_batch_size: int = setting(0, "Pictures sampled at once. 0 is as many as fit.", low=0, high=4096)
    max_grad_norm: float = setting(1.0, "Longer gradients are shortened to this.", low=1e-6, high=1e6, step=0.1)
    weight_decay: float = setting(1e-4, "AdamW's weight decay.", low=0.0, high=1.0, step=0.0001)
    warmup_updates: int = setting(
        0, "Updates over which the learning rate rises to its full value.", low=0, high=100_000
    )
    decay_updates: int = setting(
        0,
        "Updates after those over which the learning rate falls to a tenth, where it stays, so that a run ends calmly. "
        "0 never falls. Updates are epochs times updates_per_epoch.",
        low=0,
        high=1_000_000,
    )
    ema_decay: float = setting(
        0.0,
        "Result is a moving average of the weights: 0.9 to 0.99 is usual, 0 is off.",
        low=0.0,
        high=0.99999,
        step=0.001,
    )
    old_log_probs: str = setting(
        "auto",
        "Where probabilities of the sampled steps come from. recompute: once more on the learning path, exact in half "
        "precision and on a GPU. auto: recompute unless what learns is float32 on a CPU.",
        options=OLD_LOG_PROBS,
    )
    gradient_checkpointing: str = setting(
        "off", "on needs a tenth of the memory for learning and a third more time.", options=SWITCH
    )
    seed: int = setting(0, "Everything random follows from it.", low=0, high=MAX_SEED)
    checkpoint_every: int = setting(1, "Epochs between files to resume from.", low=1, high=10_000)
    sample_every: int = setting(5, "Epochs between sample grids; 0 is none.", low=0, high=10_000)
    evaluate_every: int = setting(
        0,
        "Epochs between comparisons with the untrained model, at seeds that are never trained on, and at prompts that "
        "are not either where held_out_prompts are connected; 0 is none.",
        low=0,
        high=10_000,
    )
    evaluate_samples: int = setting(32, "Pictures in a comparison.", low=2, high=4096)
    evaluate_steps: int = setting(
        25,
        "Steps of its second half, sampled as one samples afterwards: ddim without fresh noise. 0 leaves it out.",
        low=0,
        high=1000,
    )
    patience: int = setting(
        0,
        "Stop when that comparison was not better than its best for this many times, by watched_reward where one is "
        "connected; 0 never stops early.",
        low=0,
        high=1000,
    )
    matching_form: str = setting(
        "nft",
        "algorithm matching: which loss. nft: towards what pleased and away from what did not, evenly. awm: the same, "
        "weighing by advantage. regression: towards what pleased only.",
        options=MATCHING_FORMS,
        optional=True,
    )
    timesteps_per_picture: int = setting(
        2,
        "algorithm matching and reward_gradient: noise levels, or fresh noises, with which each picture is learned "
        "from. 2 to 4 are usual.",
        low=1,
        high=64,
        optional=True,
    )
    advantage_saturation: float = setting(
        1.5,
        "algorithm matching: scores this many standard deviations away, and further, count in full. 1 to 2 is usual.",
        low=0.1,
        high=100.0,
        step=0.1,
        optional=True,
    )
    proximal_weight: float = setting(
        1.0,
        "algorithm matching: holds the model near where the epoch began; regression does without. 1 is usual.",
        low=0.0,
        high=100.0,
        step=0.1,
        optional=True,
    )
    reference_weight: float = setting(
        0.0,
        "algorithm matching and reward_gradient: holds the model near where training began, as kl_weight does for the "
        "others. 0 is off. "
        "Learning takes a third longer with it; load the model in float32.",
        low=0.0,
        high=100.0,
        step=0.01,
        optional=True,
    )
    rehearsal_weight: float = setting(
        0.0,
        "algorithm matching: the untrained model makes a quarter of the pictures too, and they are denoised as it "
        "does, so that nothing it can paint is forgotten and pictures of a prompt stay different. 0.02 to 0.3 is "
        "usual, 0 is off. Epochs take a third longer with it.",
        low=0.0,
        high=100.0,
        step=0.01,
        optional=True,
    )
    gradient_form: str = setting(
        "draft_lv",
        "algorithm reward_gradient: where the gradient passes the network. draft_1: in the last step. draft_lv: in "
        "fresh noises of it, timesteps_per_picture of them. direct_align: at any noise level between window_start and "
        "window_stop.",
        options=GRADIENT_FORMS,
        optional=True,
    )
    guard: str = setting(
        "auto",
        "on: stop when a watched reward falls by more than chance explains, or pictures of one prompt become too much "
        "alike, and keep the best epoch before that. It looks at every comparison: evaluate_every says how often. "
        "auto: on with a preset, off without.",
        options=GUARD,
        optional=True,
    )
    diversity_floor: float = setting(
        0.4,
        "guard: how different pictures of one prompt must stay, as a share of what the untrained model's are. 0 asks "
        "for nothing.",
        low=0.0,
        high=1.0,
        step=0.05,
        optional=True,
    )
    kl_gate: str = setting(
        "off",
        "disagreement: kl_weight and reference_weight hold only pictures about which the rewards, trained and watched, "
        "disagree. With one reward they hold all.",
        options=KL_GATES,
        optional=True,
    )
    balance_rewards: str = setting(
        "off",
        "on: where there are several rewards, their sum is brought to one size in every epoch, so that adding a reward "
        "does not make the steps larger.",
        options=SWITCH,
        optional=True,
    )
    kl_mask: float = setting(
        0.0,
        "algorithm clipped: a trust region by the exact distance (KL, in nats) of each step instead of clip_range: "
        "steps further than this are left out. 0 is off; 0.5 to 5 is usual.",
        low=0.0,
        high=1e6,
        step=0.1,
        optional=True,
    )
    shared_rollouts: str = setting(
        "off",
        "algorithm matching, several processes or machines with one folder: on lets others make pictures of an epoch "
        '(python -m tastemaker.training with "rollouts"), which this run learns from.',
        options=SWITCH,
        optional=True,
    )
