"""The picture of a template as the page's browser shows it: what it is for, above what it makes.

The browser itself names a pack's templates by their files; words that people read have to be in the picture.
"""

from __future__ import annotations

from PIL import Image, ImageDraw

from tastemaker.plots.theme import BACKGROUND, DIM, GOLD, TEXT, font

SIDE, MARGIN, HEAD = 720, 28, 150
START = "best_of_batch"
TITLES = {
    "best_of_batch": ("Best of a batch", "Make 16 pictures, keep the best 4."),
    "rank_my_own_graph": ("Rank my own graph", "Your KSampler, your model, ranked."),
    "rank_folder": ("The best of a folder", "Sort the pictures that you have."),
    "teach_my_taste": ("Teach it your taste", "Pick the best of six, thirty times."),
    "train_on_my_taste": ("Train on your taste", "A LoRA that makes what you like."),
    "grid": ("Which settings are best?", "Guidance, steps, LoRAs in a grid."),
    "search": ("Search", "The best picture that a budget buys."),
    "compare_rewards": ("Two judges", "Where do they disagree?"),
    "fine_tune": ("Fine-tune on a reward", "Before and after, pair by pair."),
    "preference_tune": ("Learn from better and worse", "Pairs teach it, no reward does."),
    "fine_tune_unconditional": ("Train without prompts", "Towards what is beautiful."),
    "evaluate_before_after": ("Is it better? By numbers", "FID and rewards of two models."),
    "blind_vote": ("Is it better? By eye", "You vote, and do not know which is which."),
    "unconditional": ("A model without prompts", "Its best 4 of 16."),
    "playground_v2": ("Playground v2", "Needs the model; small one shown."),
    "refiner": ("SDXL and its refiner", "Needs both models; small ones shown."),
    "lora": ("With and without a LoRA", "Needs SDXL; small one shown."),
}


def card(name: str, picture: Image.Image) -> Image.Image:
    """Return a square card of the template: its title, a line below it, and as much of `picture` as fits."""
    title, line = TITLES[name]
    made = Image.new("RGB", (SIDE, SIDE), BACKGROUND)
    draw = ImageDraw.Draw(made)
    draw.text((MARGIN, 26), title, TEXT, font(50))
    draw.text((MARGIN, 92), line, DIM, font(29))
    if name == START:
        letters = font(29)
        wide = draw.textlength("Start here", letters)
        right = SIDE - MARGIN
        draw.rounded_rectangle((right - wide - 32, 30, right, 78), 24, GOLD)
        draw.text((right - 16, 54), "Start here", BACKGROUND, letters, anchor="rm")
    room = (SIDE, SIDE - HEAD)
    scale = max(room[0] / picture.width, min(1.0, room[1] / picture.height))
    shown = picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.LANCZOS)
    left = (shown.width - room[0]) // 2
    made.paste(shown.crop((left, 0, left + room[0], min(shown.height, room[1]))), (0, HEAD))
    return made
