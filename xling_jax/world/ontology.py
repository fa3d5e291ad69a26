"""What there is in the world: nouns by class, adjectives on scales, verbs with opposites and consequences.

Everything is a table; ranks are positions in it. Two properties make languages alignable without shared
words, so keep them: Zipf frequencies inside every class, and selectional preferences (a verb chooses the
sorts of its subject and object, a noun's class its adjective scales).
"""

import bisect
import itertools
import random
from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

# Nouns of a class, the most frequent first. Names and towns are proper nouns.
NOUNS = {
    "name": tuple(f"name{i}" for i in range(16)),
    "town": tuple(f"town{i}" for i in range(6)),
    "person": tuple("child farmer doctor baker sailor teacher singer guard".split()),
    "animal": tuple("dog cat horse bird cow goat fox bear".split()),
    "food": tuple("bread apple cheese egg soup honey bean".split()),
    "thing": tuple("book cup box knife coat lamp ring rope".split()),
    "place": tuple("house garden market forest field bridge harbour".split()),
}
CLASS_OF = {noun: name for name, nouns in NOUNS.items() for noun in nouns}
PROPER = frozenset({"name", "town"})

# The word for all members of a class; what is asked for in "which place", "which time".
KIND_OF_CLASS = {
    "name": "any_person",
    "person": "any_person",
    "animal": "any_animal",
    "food": "any_food",
    "thing": "any_thing",
    "place": "any_place",
    "town": "any_place",
}
KINDS_OF_NOUN = (*dict.fromkeys(KIND_OF_CLASS.values()), "any_time")
HYPERNYM = {noun: KIND_OF_CLASS[name] for noun, name in CLASS_OF.items()}

# Adjectives on exclusive scales, and the scales that a class of nouns takes.
SCALES = {
    "size": ("big", "small"),
    "age": ("old", "young"),
    "mood": ("happy", "sad"),
    "colour": ("white", "red"),
    "taste": ("sweet", "sour"),
    "weight": ("heavy", "light"),
}
SCALES_OF = {
    "person": ("age", "mood", "size"),
    "animal": ("size", "colour", "age"),
    "food": ("taste", "colour"),
    "thing": ("weight", "colour"),
    "place": (),
}

SORTS = {
    "animate": ("name", "animal", "person"),
    "human": ("name", "person"),
    "animal": ("animal",),
    "food": ("food",),
    "goods": ("food", "thing"),
    "thing": ("thing",),
    "site": ("place", "town"),
}

ADPOSITIONS = ("in", "near", "behind")
TIMES = ("morning", "night", "noon", "summer", "dawn", "winter")
TENSES = ("past", "present", "future")
COUNTS = tuple(range(2, 10))


class Verb(NamedTuple):
    """A verb. `pair` is shared with its opposite; `then` is what follows from it: verb, agent, patient."""

    name: str
    opposite: str
    pair: str
    subject: str
    object: str
    then: tuple[str, ...]


class _Pair(NamedTuple):
    """Two verbs of which exactly one is true of any situation: not to do one is to do the other."""

    names: str
    subject: str
    object: str
    then: tuple[str, str]


# Consequences name the verb and who takes part in it, in the roles of the first event.
_PAIRS = (
    _Pair("love hate", "animate", "animate", ("sing agent", "leave patient")),
    _Pair("help hurt", "animate", "animate", ("laugh patient", "cry patient")),
    _Pair("eat refuse", "animate", "food", ("sleep agent", "run agent")),
    _Pair("follow avoid", "animate", "animate", ("arrive patient", "whisper agent")),
    _Pair("buy sell", "human", "goods", ("keep agent patient", "lose agent patient")),
    _Pair("trust fear", "animate", "animate", ("rest agent", "wake agent")),
    _Pair("keep lose", "human", "goods", ("laugh agent", "cry agent")),
    _Pair("feed starve", "human", "animal", ("love patient agent", "hate patient agent")),
    _Pair("mend break", "human", "thing", ("keep agent patient", "sell agent patient")),
    _Pair("sleep wake", "animate", "", ("rest agent", "arrive agent")),
    _Pair("laugh cry", "animate", "", ("sing agent", "whisper agent")),
    _Pair("run rest", "animate", "", ("leave agent", "sleep agent")),
    _Pair("arrive leave", "animate", "", ("wake agent", "run agent")),
    _Pair("sing whisper", "animate", "", ("laugh agent", "cry agent")),
)


def _verbs() -> Iterable[Verb]:
    for row in _PAIRS:
        names = row.names.split()
        for name, opposite, then in zip(names, reversed(names), row.then, strict=True):
            yield Verb(name, opposite, names[0], row.subject, row.object, tuple(then.split()))


VERBS = {verb.name: verb for verb in _verbs()}
ADJECTIVES = tuple(word for scale in SCALES.values() for word in scale)
COMMON_NOUNS = tuple(noun for name, nouns in NOUNS.items() if name not in PROPER for noun in nouns)
PROPER_NOUNS = NOUNS["name"] + NOUNS["town"]
CONTENT = COMMON_NOUNS + KINDS_OF_NOUN + ADJECTIVES + TIMES + tuple(VERBS)


def zipf(count: int) -> list[float]:
    """Returns relative frequencies of the ranks of a class: 1 / (rank + 1.5), which sum to one."""
    weights = [1 / (rank + 1.5) for rank in range(count)]
    return [weight / sum(weights) for weight in weights]


class Ranked(Generic[T]):
    """Members of a class, drawn with Zipf frequencies.

    Only `rng.random()` is used: its sequence is the one that the standard library promises not to change.
    """

    def __init__(self, members: Iterable[T]):
        self.members = tuple(members)
        self._until = list(itertools.accumulate(zipf(len(self.members))))[:-1]

    def draw(self, rng: random.Random) -> T:
        return self.members[bisect.bisect_right(self._until, rng.random())]


def uniform(rng: random.Random, members: tuple[T, ...]) -> T:
    """Returns one of the members, each as likely as the other."""
    return members[int(rng.random() * len(members))]
