"""Properties of chunk F1: bounds, symmetry, what does not change it, and a slow reading of the rule."""

import random

import numpy as np
import pytest

from xling_jax.scoring.chunks import Tagset, chunks
from xling_jax.scoring.metrics import tagging, value
from xling_jax.tables.tasks import NER, UPOS

ODD = ("B-PER", "E-PER", "S-PER", "I-LOC", ".", "O", "L-PER", "NOUN")
TAGSETS = {"upos": (*UPOS, "O"), "ner": NER, "odd": ODD}


def sentences(rng, labels, count=60):
    """Returns gold tags and others, of the same lengths; few kinds of tags in each sentence, and runs of them."""
    golds, others = [], []
    for _ in range(count):
        few = rng.choices(labels, k=3)
        gold = rng.choices(few, k=rng.randrange(10))
        golds.append(gold)
        others.append([tag if rng.random() < 0.7 else rng.choice(few) for tag in gold])
    return golds, others


def f1(golds, others):
    return value(tagging(golds, others)["f1"])


def slow_chunks(tags):
    """Follows the rule as it is published: tag by tag, with what was before."""
    found, begin, last, last_type = set(), 0, "O", ""
    for at, tag in enumerate([*tags, "O"]):
        now, kind = tag[0], tag.split("-")[-1]
        neighbours = last + now
        ends = last in "ES" or neighbours in {"BB", "BS", "BO", "IB", "IS", "IO"}
        starts = now in "BS" or neighbours in {"EE", "EI", "SE", "SI", "OE", "OI"}
        if ends or (last not in "O." and last_type != kind):
            found.add((last_type, begin, at - 1))
        if starts or (now not in "O." and last_type != kind):
            begin = at
        last, last_type = now, kind
    return found


@pytest.mark.parametrize("labels", TAGSETS.values(), ids=TAGSETS)
def test_whole_files_equal_a_slow_reading_of_each_sentence(labels):
    rng = random.Random(1)
    golds, others = sentences(rng, labels, count=400)
    both = one = other = 0
    for gold, tags in zip(golds, others, strict=True):
        assert chunks(gold) == slow_chunks(gold), gold
        both += len(slow_chunks(gold) & slow_chunks(tags))
        one += len(slow_chunks(gold))
        other += len(slow_chunks(tags))
    assert tagging(golds, others)["f1"].sum(0).tolist() == [2 * both, one + other]
    assert 0 < both < min(one, other)


@pytest.mark.parametrize("labels", TAGSETS.values(), ids=TAGSETS)
def test_bounds_symmetry_and_order(labels):
    rng = random.Random(2)
    golds, others = sentences(rng, labels)
    pairs = tagging(golds, others)
    assert (pairs["f1"][:, 0] <= pairs["f1"][:, 1]).all() and (pairs["f1"] >= 0).all()
    assert (pairs["accuracy"][:, 0] <= pairs["accuracy"][:, 1]).all()
    assert f1(golds, golds) == 100
    assert tagging(others, golds)["f1"].tolist() == pairs["f1"].tolist(), "precision and recall change places"
    order = rng.sample(range(len(golds)), len(golds))
    mixed = tagging([golds[at] for at in order], [others[at] for at in order])
    assert mixed["f1"].tolist() == pairs["f1"][order].tolist(), "sentences do not see each other"
    together = tagging(golds[:30] + golds[30:], others[:30] + others[30:])
    apart = [tagging(golds[part], others[part])["f1"] for part in (slice(30), slice(30, None))]
    assert np.concatenate(apart).tolist() == together["f1"].tolist()


def test_relabelling_a_whole_file_changes_nothing():
    """Types may be exchanged, as long as first letters that mean something stay what they are."""
    golds, others = sentences(random.Random(3), TAGSETS["ner"])
    swap = {"PER": "LOC", "LOC": "ORG", "ORG": "PER", "ANI": "X"}
    new = {tag: f"{tag[:2]}{swap[tag[2:]]}" if tag != "O" else tag for tag in NER}
    renamed = ([[new[tag] for tag in tags] for tags in each] for each in (golds, others))
    assert tagging(*renamed)["f1"].tolist() == tagging(golds, others)["f1"].tolist()
    golds, others = sentences(random.Random(3), ("NOUN", "VERB", "ADJ", "SYM"))
    new = {"NOUN": "VERB", "VERB": "ADJ", "ADJ": "NOUN", "SYM": "SCONJ"}
    renamed = [[[new[tag] for tag in tags] for tags in each] for each in (golds, others)]
    assert tagging(*renamed)["f1"].tolist() == tagging(golds, others)["f1"].tolist()
    first_letters = [[["NOUN" if tag == "SYM" else tag for tag in tags] for tags in each] for each in (golds, others)]
    assert f1(*first_letters) != f1(golds, others), "tags with S are no runs, so this is no renaming"


def test_one_more_right_tag_can_lower_chunk_f1():
    """Which is why token accuracy stands beside it."""
    gold = [["NOUN", "NOUN", "VERB"]]
    worse, better = [["ADJ", "ADJ", "VERB"]], [["NOUN", "ADJ", "VERB"]]
    assert (f1(gold, worse), f1(gold, better)) == (50, 40)
    assert [value(tagging(gold, tags)["accuracy"]) for tags in (worse, better)] == pytest.approx([100 / 3, 200 / 3])


def test_a_tagset_of_a_thousand_tags():
    """Supertags are numbers: a class for each first digit that means nothing, and a type for each."""
    tags = tuple(str(number) for number in range(1363))
    tagset = Tagset(tags)
    tags_T = np.array([5, 5, 50, 501, tagset.outside, 501, tagset.outside])
    assert tagset.begins(tags_T).tolist() == [-1, 0, 2, 3, -1, 5, -1]
