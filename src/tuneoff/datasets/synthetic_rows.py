"""Guests' letters about an inn, written by rule: the rows of tuneoff's built-in dataset.

    generate(1600, seed=0)                       # training rows
    generate(500, seed=0, split="test")          # never a text that any training set can hold

Each text is one sentence or two, the label the writer's own opinion in one of five degrees. The
words alone do not give it away: "not dull" approves, "somewhat dreadful" only complains, "two of
the ten rooms were dirty" approves, in "though A, B" only B counts, in "my aunt thought A, I
thought B" only the writer does, and in "they told me that A; it was false" A is turned round.

- Labels are balanced before noise; a declared share of rows (`NOISE`) then moves one degree up or
  down, in every split, so a perfect reader scores `1 - NOISE`.
- Validation and test use words of their own, which training never shows: `NEW_WORDS` is their
  share among things, people and qualities, `NEW_PHRASES` among turns of phrase. The two splits'
  own words differ, so that dev is as hard as test and tells nothing about it.
- A text's hash says which split may hold it, so splits are disjoint for every `n` and `seed`.
- Only `random.Random(...).random()` and integer arithmetic decide, so that every platform and
  Python version gives the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from typing import Final, Literal, TypeVar

Split = Literal["train", "validation", "test"]
T = TypeVar("T")

LABELS: Final = ("outrage", "complaint", "indifference", "approval", "delight")  # -2 ... +2
NOISE: Final = 0.04
NEW_WORDS: Final = 0.3
NEW_PHRASES: Final = 0.15
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")

# Share of a text's hash space that each split owns.
_SHARES: Final = {"train": range(0, 70), "validation": range(70, 80), "test": range(80, 100)}

# What stands after the last bar is kept for test, between the bars for validation.
_ADJECTIVES: Final = {
    2: "delightful excellent splendid perfect admirable glorious magnificent wonderful "
    "| exquisite superb | charming beautiful marvellous",
    1: "pleasant good agreeable decent comfortable neat cheerful clean respectable nice "
    "| tidy satisfactory | snug friendly fine",
    -1: "dull poor shabby dreary dirty gloomy bad dismal disagreeable clumsy "
    "| untidy tedious | unpleasant ugly sad",
    -2: "dreadful horrible wretched abominable vile disgusting shocking intolerable "
    "| hideous detestable | frightful miserable odious",
}
_THINGS: Final = (
    "supper inn parlour wine bed garden landlord breakfast kitchen stable fire company "
    "| tea carriage | dinner cottage music"
)
_GROUPS: Final = (
    "rooms servants dishes horses beds chairs windows maids pictures guests "
    "| books waiters | chambers carpets songs"
)
_PEOPLE: Final = (
    "my aunt;my brother;the doctor;the captain;my wife;our neighbour;the old lady;my uncle "
    "| the colonel;my sister | the vicar;my cousin;her father"
)
_NEUTRAL: Final = (
    "neither good nor bad;much as usual;like any other;as we had left it;neither better nor worse "
    "| nothing out of the common | neither one thing nor the other"
)
_STRONGER: Final = "very;exceedingly;most;quite;truly | really | extremely"
_WEAKER: Final = "rather;somewhat;a little;a trifle | slightly | a shade"
_NOT: Final = "not;by no means;never;far from;not at all | hardly | anything but"
_NUMBERS: Final = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_MOST: Final = "all of;most of;nearly all of | the greater part of | almost all of"
_FEW: Final = "none of;few of;hardly any of | scarcely any of | not one of"

# {a} is overruled, {b} is what counts.
_CONTRASTS: Final = (
    "though {a}, {b};{b}, though {a};{a}, but {b};{a}, and yet {b};{b}, even if {a}"
    "| in spite of what you heard, that {a}, {b} | granted that {a}, still {b}"
)
_HOLDERS: Final = (
    "{p} thought that {a}, but I thought that {b};I thought that {b}, but {p} thought that {a};"
    "{p} said that {a}. I must say that {b};I say that {b}, whereas {p} said that {a}"
    "| I found that {b}. According to {p}, {a} | to {p} it seemed that {a}, to me that {b}"
)
_DENIALS: Final = (
    "it is not true that {a};nobody could say that {a};they told me that {a}, and it was false;"
    "{p} wrote that {a}. It was a lie"
    "| I cannot agree with {p} that {a} | {p} was mistaken in saying that {a}"
)
_ADMISSIONS: Final = (
    "it is quite true that {a};everybody could say that {a};they told me that {a}, and it was true;"
    "{p} wrote that {a}. It was no lie"
    "| I quite agree with {p} that {a} | {p} was right in saying that {a}"
)
_OPENINGS: Final = (
    ";in truth;upon my word;as for us;last night;this time | on the whole | to be plain"
)


def generate(n: int, seed: int, split: Split = "train") -> list[dict[str, str]]:
    """`n` different rows {"text", "label"} of one split, in shuffled order.

    Raises: ValueError for an unknown split or a negative `n`.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}; got {split!r}")
    if n < 0:
        raise ValueError(f"n must not be negative; got {n}")
    writer = _Writer(random.Random(f"tuneoff synthetic {seed} {split}"), split)
    rows: list[dict[str, str]] = []
    seen: set[str] = set()
    left = {degree: (n + 2 - degree) // len(LABELS) for degree in range(-2, 3)}
    while len(rows) < n:
        text, opinion = writer.letter()
        if not left[opinion] or text in seen or owner(text) != split:
            continue
        seen.add(text)
        left[opinion] -= 1
        rows.append({"text": text, "label": LABELS[writer.slip(opinion) + 2]})
    return writer.shuffled(rows)


def owner(text: str) -> Split:
    """The only split that may hold this text."""
    place = int.from_bytes(sha256(text.encode()).digest()[:8], "big") % 100
    return next(split for split in SPLITS if place in _SHARES[split])


@cache
def _words(listed: str, split: Split) -> tuple[list[str], list[str]]:
    """The common words of a list, and the split's own: train has none of its own."""
    separator = ";" if ";" in listed else None
    common, validation, test = (
        [word.strip() for word in part.strip(" ").split(separator)] for part in listed.split("|")
    )
    return common, {"train": [], "validation": validation, "test": test}[split]


class _Writer:
    """Draws clauses and letters, each with the opinion that it holds, from -2 to +2."""

    def __init__(self, rng: random.Random, split: Split) -> None:
        self.rng, self.split = rng, split

    def letter(self) -> tuple[str, int]:
        chance = self.rng.random()
        if chance < 0.55:
            opening = self.phrase(_OPENINGS)
            clause, opinion = self.clause(plain=0.4)
            text = f"{opening}, {clause}" if opening else clause
        elif chance < 0.73:
            text, opinion = self.against(self.phrase(_CONTRASTS))
        elif chance < 0.90:
            text, opinion = self.against(self.phrase(_HOLDERS))
        else:
            false = self.rng.random() < 0.6
            clause, opinion = self.plain()
            frame = self.phrase(_DENIALS if false else _ADMISSIONS)
            text = frame.format(a=clause, p=self.word(_PEOPLE))
            opinion = _turned(opinion) if false else opinion
        return ". ".join(part[0].upper() + part[1:] for part in text.split(". ")) + ".", opinion

    def against(self, frame: str) -> tuple[str, int]:
        """Two clauses of different opinion, of which the second counts."""
        kept, opinion = self.clause(plain=0.7)
        other, overruled = self.clause(plain=0.7)
        while overruled == opinion:
            other, overruled = self.clause(plain=0.7)
        return frame.format(a=other, b=kept, p=self.word(_PEOPLE)), opinion

    def clause(self, plain: float) -> tuple[str, int]:
        if self.rng.random() < plain:
            return self.plain()
        chance = self.rng.random()
        if chance < 0.45:
            subject, verb = self.subject()
            degree, adjective = self.adjective()
            return f"{subject} {verb} {self.phrase(_NOT)} {adjective}", _turned(degree)
        if chance < 0.65:
            subject, verb = self.subject()
            return f"{subject} {verb} {self.phrase(_NEUTRAL)}", 0
        return self.counted()

    def plain(self) -> tuple[str, int]:
        subject, verb = self.subject()
        degree, adjective = self.adjective()
        sign = 1 if degree > 0 else -1
        chance = self.rng.random()
        if chance < 0.3:
            return f"{subject} {verb} {self.phrase(_STRONGER)} {adjective}", 2 * sign
        if chance < 0.6:
            return f"{subject} {verb} {self.phrase(_WEAKER)} {adjective}", sign
        return f"{subject} {verb} {adjective}", degree

    def counted(self) -> tuple[str, int]:
        """Most of them: the word holds. Few of them: it is turned round. Half: neither."""
        group = self.word(_GROUPS)
        degree, adjective = self.adjective()
        chance = self.rng.random()
        if chance < 0.5:
            many = self.rng.random() < 0.5
            amount = self.phrase(_MOST if many else _FEW)
            return f"{amount} the {group} were {adjective}", degree if many else _turned(degree)
        if chance < 0.7:
            return f"half of the {group} were {adjective}", 0
        part = self.choice(range(len(_NUMBERS)))
        text = f"{_NUMBERS[part]} of the ten {group} {'were' if part else 'was'} {adjective}"
        return text, degree if part > 4 else 0 if part == 4 else _turned(degree)

    def subject(self) -> tuple[str, str]:
        if self.rng.random() < 0.6:
            return f"the {self.word(_THINGS)}", "was"
        return f"the {self.word(_GROUPS)}", "were"

    def adjective(self) -> tuple[int, str]:
        degree = self.choice((-2, -1, 1, 2))
        return degree, self.word(_ADJECTIVES[degree])

    def slip(self, opinion: int) -> int:
        """The opinion, or with probability NOISE its neighbour."""
        if self.rng.random() >= NOISE:
            return opinion
        return self.choice([near for near in (opinion - 1, opinion + 1) if -2 <= near <= 2])

    def word(self, listed: str, new: float = NEW_WORDS) -> str:
        common, own = _words(listed, self.split)
        return self.choice(own if own and self.rng.random() < new else common)

    def phrase(self, listed: str) -> str:
        return self.word(listed, NEW_PHRASES)

    def choice(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def below(self, limit: int) -> int:
        return int(self.rng.random() * limit)

    def shuffled(self, rows: list[dict[str, str]]) -> list[dict[str, str]]:
        for last in range(len(rows) - 1, 0, -1):
            other = self.below(last + 1)
            rows[last], rows[other] = rows[other], rows[last]
        return rows


def _turned(opinion: int) -> int:
    """What is left of an opinion once it is denied: the other side, in the lower degree."""
    return (opinion < 0) - (opinion > 0)
