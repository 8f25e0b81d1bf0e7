"""`Taste`: one person's taste, learned of clicks; `learn` makes one, `Taste.reward` makes a reward of it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from ..core.errors import InputError
from ..images.pictures import Pictures, as_pictures
from ..rewards import Reward
from .attributes import ATTRIBUTES, attributes
from .clicks import Click
from .features import Recipe, encoder_of, fit_recipe, group_means, look_at
from .head import Grids, Posterior, Prior, choose_scale, fit, prior, stack_grids


@dataclass(frozen=True)
class Answer:
    """A click with what its pictures looked like, so that it outlives them. `features` are float32 (K, D)."""

    click: Click
    features: torch.Tensor


@dataclass(frozen=True, eq=False)
class Taste:
    """A person's taste.

    Attributes:
        name: whose.
        recipe: how features are made.
        answers: every click there was.
        encoder: name and fingerprint of the reward whose encoder embeds pictures; empty without one.
        crowd: name -> fingerprint of the rewards whose scores are features.
    """

    name: str
    recipe: Recipe
    answers: tuple[Answer, ...]
    encoder: tuple[str, str]
    crowd: Mapping[str, str]

    @property
    def counted(self) -> tuple[Answer, ...]:
        """The answers that say something: those that picked a picture."""
        return tuple(answer for answer in self.answers if answer.click.picked)

    @cached_property
    def grids(self) -> Grids:
        """The answers as the head takes them."""
        counted = self.counted
        features = [answer.features.double().numpy() for answer in counted]
        picked = [answer.click.shown.index(answer.click.picked) for answer in counted]
        return stack_grids(features, picked, len(self.recipe.names))

    @cached_property
    def prior(self) -> Prior:
        """What was expected before any answer: the crowd's taste, as wide as makes the answers most probable."""
        width, crowd = len(self.recipe.names), len(self.recipe.reward_mean)
        return prior(width, crowd, choose_scale(self.grids, width, crowd))

    @cached_property
    def posterior(self) -> Posterior:
        """What the answers say of the weights."""
        return fit(self.grids, *self.prior)

    def reward(self, rewards: Sequence[Reward], *, name: str | None = None) -> Reward:
        """Make a `Reward`: w . phi of a picture, in the units of the clicks' log-odds.

        Args:
            rewards: those the taste needs (`needs`), of the weights that it was learned with.
            name: of the column; None: `taste NAME`.

        Raises InputError where one is missing or has other weights.
        """
        return taste_reward(self, rewards, name or f"taste {self.name}")

    @property
    def needs(self) -> dict[str, str]:
        """Names and fingerprints of the rewards that it needs."""
        return ({self.encoder[0]: self.encoder[1]} if self.encoder[0] else {}) | dict(self.crowd)


def learn(
    clicks: Sequence[Click],
    pictures: Pictures | torch.Tensor,
    reward: Reward | None,
    *,
    ids: Sequence[str],
    scores: torch.Tensor | None = None,
    prompts: Sequence[Hashable] | None = None,
    name: str = "me",
    crowd: bool = True,
    before: Taste | None = None,
) -> tuple[Taste, torch.Tensor]:
    """Learn a taste of clicks on pictures, or let it go on.

    Args:
        clicks: answers on these pictures; those on others are ignored.
        pictures: B pictures, or a batch (B, H, W, 3).
        reward: the crowd's, whose encoder sees; None: attributes alone.
        ids: B names of the pictures, as the clicks call them.
        scores: (B, R) of the reward's single rewards; None: they are computed.
        prompts: B labels; the crowd's scores count inside one prompt only.
        crowd: whether the reward's scores count, or its encoder alone.
        before: the taste that goes on: its recipe and its answers stay.

    Returns:
        the taste, and the features (B, D) of the pictures.

    Raises:
        InputError: fewer than two pictures, or a taste that was learned with another reward.
    """
    pictures = as_pictures(pictures)
    labels = list(prompts) if prompts is not None else [""] * len(pictures)
    single = reward.leaves if reward is not None else ()
    leaves = single if crowd else ()
    encoder = encoder_of(reward)
    if before is not None:
        check_rewards(before, single)
    if scores is None:
        texts = [str(label) for label in labels]
        columns = [one.silent.picture_columns(_opened(pictures), texts)[one.name] for one in leaves]
        scores = torch.stack(columns, 1) if columns else torch.zeros(len(pictures), 0)
    seen, embedded = look_at(pictures, encoder)
    recipe = before.recipe if before else fit_recipe(seen, embedded, scores, [one.name for one in leaves], labels)
    if before is not None and len(pictures) < 2:
        raise InputError("pictures", len(pictures), "A taste is learned by comparing: give at least two pictures.")
    # inside a prompt only: of two prompts the scores do not compare
    features = recipe.parts(seen, embedded, scores - group_means(scores, labels) + recipe.reward_mean)
    taste = before or Taste(
        name,
        recipe,
        (),
        (encoder.name, encoder.fingerprint) if encoder is not None else ("", ""),
        {one.name: one.fingerprint for one in leaves},
    )
    return with_clicks(taste, clicks, ids, features), features


def _opened(pictures: Pictures) -> list:
    return [pictures.decode(i) for i in range(len(pictures))]


def with_clicks(taste: Taste, clicks: Sequence[Click], ids: Sequence[str], features: torch.Tensor) -> Taste:
    """Return a taste with more answers; one that it has, or one on pictures that are not there, is left out."""
    row = {one: i for i, one in enumerate(ids)}
    known = {(answer.click.shown, answer.click.at) for answer in taste.answers}
    new = [
        Answer(click, features[[row[one] for one in click.shown]].float())
        for click in clicks
        if all(one in row for one in click.shown) and (click.shown, click.at) not in known
    ]
    return replace(taste, answers=(*taste.answers, *new))


def without_stars(taste: Taste, ids: Collection[str]) -> Taste:
    """Return a taste without the answers that the stars of these pictures gave before: their stars now count."""
    kept = (one for one in taste.answers if one.click.kind != "starred" or one.click.picked not in ids)
    return replace(taste, answers=tuple(kept))


def check_rewards(taste: Taste, rewards: Sequence[Reward]) -> None:
    """Raise InputError unless the rewards that a taste needs are there, with the weights it was learned with."""
    there = {one.name: one.fingerprint for one in rewards}
    for name, fingerprint in taste.needs.items():
        if there.get(name) != fingerprint:
            found = ", ".join(there) or "none"
            why = "with other weights" if name in there else f"and it found {found}"
            raise InputError(
                "reward",
                found,
                f"The taste {taste.name!r} was learned with {name}, {why}. Connect {name} as it was then, or give the "
                "taste another name to begin a new one.",
            )


def taste_reward(taste: Taste, rewards: Sequence[Reward], name: str) -> Reward:
    """Make the `Reward` of a taste; `rewards` hold the ones it needs. Raises InputError as `check_rewards`."""
    check_rewards(taste, rewards)
    by_name = {one.name: one for one in rewards}
    crowd = [by_name[one] for one in taste.crowd]
    encoder = by_name.get(taste.encoder[0])
    with torch.inference_mode(False):  # a host makes rewards inside it, and gradients go through this one
        weights = torch.from_numpy(taste.posterior.mean).float()

    def utility(images: torch.Tensor, scores: Sequence[torch.Tensor]) -> torch.Tensor:
        seen = attributes(images)
        made = encoder.embed(images) if encoder is not None and encoder.embed is not None else None
        embedded = seen.new_zeros(len(seen), 0) if made is None else made.to(seen.device)
        columns = torch.stack([s.to(seen.device) for s in scores], 1) if scores else seen.new_zeros(len(seen), 0)
        return taste.recipe.parts(seen, embedded, columns) @ weights.to(seen.device)

    def score(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        with torch.no_grad():
            return utility(images, [one.score(images, prompts) for one in crowd])

    def gradient_score(images: torch.Tensor, prompts: Sequence[str]) -> torch.Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            given = images.clone() if images.is_inference() else images
            return utility(given, [one.with_gradient(given, list(prompts)) for one in crowd])

    needed = [by_name[one] for one in taste.needs]
    digest = hashlib.sha256(taste.posterior.mean.tobytes())
    for part in (name, *taste.recipe.names, *(v for pair in taste.needs.items() for v in pair)):
        digest.update(part.encode() + b"\n")
    for tensor in (taste.recipe.directions, taste.recipe.attribute_mean, taste.recipe.reward_mean):
        digest.update(tensor.numpy().tobytes())
    return Reward(
        name=name,
        score=score,
        needs_prompt=any(one.needs_prompt for one in crowd),
        meaning=f"The taste of {taste.name}, of {len(taste.counted)} clicks: log-odds of being picked.",
        fingerprint=digest.hexdigest()[:16],
        modules={f"{one.name}/{key}": module for one in needed for key, module in one.modules.items()},
        gradient_score=gradient_score if all(one.differentiable for one in crowd) else None,
        source=f"Learned in this ComfyUI of {len(taste.counted)} clicks.",
    )


def attribute_count() -> int:
    """Return how many of the features are named attributes: the first ones."""
    return len(ATTRIBUTES)
