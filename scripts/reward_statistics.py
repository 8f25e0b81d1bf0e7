"""Measures the mean and spread of tiny-imagereward for `rewards/statistics.py`: prints the line to put there.

    python -m scripts.reward_statistics

On 100 pictures that tiny-sdxl makes of 100 captions it was not trained on.
"""

from __future__ import annotations

from scripts.embedded.measure import held_out_captions
from tastemaker.loaders import load_diffusion_model
from tastemaker.rewards import load_reward, measured
from tastemaker.sampling import SampleOptions, sample

COUNT, STEPS, GUIDANCE = 100, 25, 4.0
SOURCE = (
    f"measured by scripts/reward_statistics.py on {COUNT} pictures of tiny-sdxl ({STEPS} DDIM steps, guidance "
    f"{GUIDANCE:g}) of captions it was not trained on"
)


def main() -> None:
    texts = [caption.text for caption in held_out_captions(COUNT)[1]]
    samples = sample(
        load_diffusion_model("tiny-sdxl"),
        texts,
        scheduler="ddim",
        steps=STEPS,
        guidance_scale=GUIDANCE,
        seeds=range(COUNT),
        options=SampleOptions(at_once=20),
    )
    found = measured(load_reward("tiny-imagereward"), samples.images, texts, SOURCE)
    print(f'"tiny-imagereward": Statistics({found.mean:.4f}, {found.std:.4f}, {found.source!r}),')


if __name__ == "__main__":
    main()
