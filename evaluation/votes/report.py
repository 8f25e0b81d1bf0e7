"""A study's result as text, as a table of every vote, and as a picture."""

from __future__ import annotations

import csv
import io
import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import NamedTuple

from PIL import Image

from ...core.errors import InputError
from ...core.texts import spreadsheet_text
from ...plots.canvas import Canvas
from ...plots.theme import BLUE, DIM, TEXT, TRACK
from ...ranking.intervals import Interval
from .rows import VoteRow
from .statistics import (
    Duel,
    RewardAgreement,
    Strength,
    VoterAgreement,
    bradley_terry,
    duels,
    left_share,
    odds,
    reward_agreement,
    voter_agreement,
    wins_table,
)
from .votes import FIRST, QUESTIONS, SECOND, choice_of

WIDTH, GAP = 900, 16
_LINE, _HEAD = 44, 38
MAX_DRAWN = 200  # lines
_COUNTED = (
    "Intervals are 95%. A tie is half a win, a skip is no vote, and each pair counts once: where several voters judged "
    "it, the mean of their votes."
)


class Answer(NamedTuple):
    """One question's result. `strengths` is empty for two models, None where several have no estimate."""

    question: str
    votes: int
    pairs: int
    duels: list[Duel]
    strengths: list[Strength] | None
    voters: VoterAgreement | None
    rewards: list[RewardAgreement]
    left: tuple[Interval, int] | None


def answers(rows: Sequence[VoteRow]) -> list[Answer]:
    """Return the result of each question that was voted on. Raises InputError without a vote."""
    if not rows:
        raise InputError("study", "no votes", "There is no vote in it yet: vote, and run the graph to store them.")
    asked = {row.question for row in rows}
    return [_answer(q, [row for row in rows if row.question == q]) for q in QUESTIONS if q in asked]


def _answer(question: str, rows: list[VoteRow]) -> Answer:
    names, wins = wins_table(rows)
    return Answer(
        question=question,
        votes=len(rows),
        pairs=len({row.pair.key for row in rows}),
        duels=duels(rows),
        strengths=bradley_terry(names, wins) if len(names) > 2 else [],
        voters=voter_agreement(rows),
        rewards=reward_agreement(rows),
        left=left_share(rows),
    )


# --- text -----------------------------------------------------------------------------------------


def summary(study: str, rows: Sequence[VoteRow]) -> str:
    """Write the whole result in plain lines: what was counted, and how, beside every figure."""
    found = answers(rows)
    by_voter = Counter(row.voter for row in rows)
    voters = ", ".join(f"{name} ({count})" for name, count in sorted(by_voter.items()))
    lines = [f"Study {study}: {len(rows)} votes by {_count(len(by_voter), 'voter')}: {voters}"]
    for answer in found:
        lines += ["", f"{answer.question}: {QUESTIONS[answer.question]}"]
        lines += [f"- {line}" for line in _lines(answer)]
    lines += ["", _COUNTED]
    return "\n".join(lines)


def _lines(answer: Answer) -> list[str]:
    lines = [_duel_line(duel) for duel in answer.duels] or ["Every pair was skipped."]
    if answer.strengths is None:
        lines.append("Bradley-Terry strengths: none, since some models never won or never lost against the others.")
    elif answer.strengths:
        lines.append("Bradley-Terry strengths (log, mean 0): " + "; ".join(map(_strength, answer.strengths)))
    if answer.voters is not None:
        lines.append(_voters_line(answer.voters))
    for one in answer.rewards:
        lines.append(f"{one.reward} prefers what voters chose in {_share(one.rate)} of {_pairs(one.pairs)}")
    if answer.left is not None:
        rate, count = answer.left
        lines.append(f"The left picture was chosen {_share(rate)} of {count} times; about half is as it should be.")
    return lines


def _duel_line(duel: Duel) -> str:
    favoured, other = duel.models
    worth = odds(duel.rate)
    return (
        f"{favoured} against {other}: {_count(duel.wins, 'win')}, {_count(duel.losses, 'loss', 'losses')}, "
        f"{_count(duel.ties, 'tie')}, {_count(duel.skips, 'skip')}; {favoured} wins {_share(duel.rate)} of "
        f"{_pairs(duel.pairs)}, odds {_number(worth.value)} to 1 ({_number(worth.low)} to {_number(worth.high)})"
    )


def _strength(one: Strength) -> str:
    return f"{one.model} {one.log.value:+.2f} ({one.log.low:+.2f} to {one.log.high:+.2f}), share {one.share:.0%}"


def _voters_line(found: VoterAgreement) -> str:
    kappa = "not defined" if found.kappa is None else f"{found.kappa:.2f}"
    line = f"Agreement between voters: {found.kind} {kappa} over {_pairs(found.pairs)} that all of them judged"
    if found.same is not None:
        line += f"; two voters who choose a side choose the same {found.same:.0%} of the time"
    return line


def _share(rate: Interval) -> str:
    return f"{rate.value:.1%} ({rate.low:.1%} to {rate.high:.1%})"


def _number(value: float) -> str:
    return "infinite" if math.isinf(value) else f"{value:.2f}"


def _pairs(count: int) -> str:
    return _count(count, "pair")


def _count(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


# --- a table of every vote ------------------------------------------------------------------------


def votes_csv(rows: Sequence[VoteRow]) -> str:
    """Write every vote, sides resolved, as CSV with a head line. Texts cannot become formulas."""
    rewards = sorted({name for row in rows for name in row.pair.scores})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["question", "voter", "time", "prompt", "seed", "left", "right", "choice", "winner"]
    scored = [f"{side} {name}" for name in rewards for side in ("left", "right")]
    writer.writerow([*head, "left picture", "right picture", *map(spreadsheet_text, scored)])
    for row in rows:
        writer.writerow(_cells(row, rewards))
    return text.getvalue()


def _cells(row: VoteRow, rewards: Sequence[str]) -> list[object]:
    pair = row.pair
    left, right = (1, 0) if row.second_left else (0, 1)
    winner = {FIRST: pair.models[0], SECOND: pair.models[1]}.get(row.pick, "")
    when = datetime.fromtimestamp(row.at / 1000, timezone.utc).isoformat(timespec="seconds")
    words = [row.question, row.voter, when, pair.prompt, "" if pair.seed is None else str(pair.seed)]
    words += [pair.models[left], pair.models[right], choice_of(row.pick, row.second_left), winner]
    words += [pair.pictures[left], pair.pictures[right]]
    scores: list[object] = []
    for name in rewards:
        both = pair.scores.get(name)
        scores += ["", ""] if both is None else [both[left], both[right]]
    return [*map(spreadsheet_text, words), *scores]


# --- a picture ------------------------------------------------------------------------------------


def chart(study: str, rows: Sequence[VoteRow]) -> Image.Image:
    """Draw win rates and rewards as bars with their intervals, a panel for each question. RGB, 900 pixels wide."""
    blocks: list[tuple[str, list[tuple[str, Interval]]]] = []
    for answer in answers(rows):
        bars = [(f"{d.models[0]} against {d.models[1]}", d.rate) for d in answer.duels]
        blocks.append((f"{QUESTIONS[answer.question]}  {_pairs(answer.pairs)}, {answer.votes} votes", bars))
        if answer.rewards:
            blocks.append(("How often a reward agrees with the voters", [(r.reward, r.rate) for r in answer.rewards]))
    blocks = [(title, bars[:MAX_DRAWN]) for title, bars in blocks if bars]
    canvas = Canvas(WIDTH, 56 + sum(_HEAD + _LINE * len(bars) + GAP for _, bars in blocks) + 30)
    canvas.text((GAP, 14), f"{study}: blind votes", TEXT, 22, width=WIDTH - 2 * GAP)
    y = 56
    for heading, bars in blocks:
        _block(canvas, heading, bars, y)
        y += _HEAD + _LINE * len(bars) + GAP
    canvas.text((GAP, y + 2), "95% intervals; ties count half; each pair once; the line is chance", DIM, 13)
    return canvas.picture()


def _block(canvas: Canvas, heading: str, bars: Sequence[tuple[str, Interval]], y: int) -> None:
    canvas.panel((GAP, y, WIDTH - 2 * GAP, _HEAD + _LINE * len(bars)), radius=8)
    canvas.text((GAP + 14, y + 10), heading, TEXT, 16, width=WIDTH - 80)
    left, right = 330, WIDTH - GAP - 190
    for row, (label, rate) in enumerate(bars):
        middle = y + _HEAD + _LINE * row + 16
        canvas.text((GAP + 14, middle), label, TEXT, 14, anchor="lm", width=left - GAP - 34)
        value, low, high = (left + (right - left) * share for share in rate)
        canvas.panel((left, middle - 7, right - left, 14), radius=4, colour=TRACK)
        canvas.panel((left, middle - 7, max(value - left, 4), 14), radius=4, colour=BLUE)
        canvas.interval(low, high, middle, TEXT, cap=6)
        canvas.text((right + 14, middle), _share(rate), TEXT, 13, anchor="lm")
    half = (left + right) / 2
    canvas.line([(half, y + _HEAD - 2), (half, y + _HEAD + _LINE * len(bars) - 14)], DIM, 1)
