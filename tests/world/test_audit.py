"""What a model could learn without doing the task. Each bound stands beside chance, and above what was measured.

Models that see a part of the input only are the oldest test of such data (hypothesis alone: Gururangan et al. 2018,
Poliak et al. 2018; word overlap: McCoy et al. 2019). The learners are a lookup, which finds any pattern of few
values, and logistic regression on words and pairs of neighbours. They train on train and are scored on dev.
"""

import collections
import functools
import itertools

import numpy as np
import pytest

from xling_jax.tables.tasks import NLI
from xling_jax.world import lexicon, ontology, read
from xling_jax.world.examples import meanings
from xling_jax.world.render import renderer

TRAIN, DEV = 4_000, 1_500
LANGUAGES = ("qen", "qdt")
MEANING = "\nThe examples give the answer away: see the pitfalls named in the module of the task before moving a bound."


@functools.cache
def examples(task, split, language, size):
    return list(read(task, split, language, size))


def sides(task, language):
    return examples(task, "train", language, TRAIN), examples(task, "dev", language, DEV)


def lookup_accuracy(train, dev, answers, features):
    """Scores the most frequent answer of train for the value of `features`."""
    counts = collections.defaultdict(collections.Counter)
    for example in train:
        counts[features(example)][answers(example)] += 1
        counts[None][answers(example)] += 1
    best = {value: counter.most_common(1)[0][0] for value, counter in counts.items()}
    return np.mean([best.get(features(example), best[None]) == answers(example) for example in dev])


def words_and_neighbours(text):
    words = text.split()
    return words + [f"{one} {two}" for one, two in itertools.pairwise(words)]


def indicators(train, dev):
    """Returns 0/1 matrices of the features, lists of strings, that are seen often in train."""
    counts = collections.Counter(feature for features in train for feature in set(features))
    columns = {feature: i for i, (feature, count) in enumerate(counts.most_common(400)) if count >= 5}
    matrices = []
    for rows in (train, dev):
        matrix = np.zeros((len(rows), len(columns) + 1), np.float32)
        matrix[:, -1] = 1
        for i, features in enumerate(rows):
            matrix[i, [columns[feature] for feature in features if feature in columns]] = 1
        matrices.append(matrix)
    return matrices


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return scores / scores.sum(axis=-1, keepdims=True)


def regression_accuracy(train, dev, train_labels, dev_labels, steps=60):
    """Scores logistic regression, trained by gradient descent with momentum."""
    x, x_dev = indicators(train, dev)
    y = np.eye(max(train_labels) + 1, dtype=np.float32)[train_labels]
    weights, speed = np.zeros((x.shape[1], y.shape[1]), np.float32), 0.0
    for _ in range(steps):
        speed = 0.9 * speed - 0.5 * x.T @ (softmax(x @ weights) - y) / len(x)
        weights = weights + speed
    return np.mean(np.argmax(x_dev @ weights, axis=1) == np.array(dev_labels))


def labels_of(rows):
    return [NLI.index(row["label"]) for row in rows]


def nli_regression(language, features):
    train, dev = sides("world_nli", language)
    return regression_accuracy(
        [features(r) for r in train], [features(r) for r in dev], labels_of(train), labels_of(dev)
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_learner_learns(language):
    """The bounds below mean nothing if the learner could not find a leak: give it one."""
    train, dev = sides("world_nli", language)

    def leak(row):
        return [*row["text_pair"].split(), "yes" if row["label"] == "neutral" else "no"]

    found = regression_accuracy([leak(r) for r in train], [leak(r) for r in dev], labels_of(train), labels_of(dev))
    assert found > 0.6, found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("part", ["text", "text_pair"])
def test_nli_from_one_sentence(language, part):
    found = nli_regression(language, lambda row: words_and_neighbours(row[part]))
    assert found <= 0.40, f"{part} alone gives {found:.3f}; chance .333.{MEANING}"


LENGTHS = {
    "both": lambda premise, hypothesis: (premise, hypothesis),
    "difference": lambda premise, hypothesis: hypothesis - premise,
    "hypothesis": lambda premise, hypothesis: hypothesis,
}
MEASURES = {
    "words": len,
    "pieces": lambda sentence: sum(len(token.pieces) for token in sentence),
}


@functools.cache
def spoken_pairs(split, language, size):
    say = renderer(language).sentence
    pairs = itertools.islice(meanings("world_nli", split, language), size)
    return [(say(pair.premise), say(pair.hypothesis), pair.label) for pair in pairs]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("which", LENGTHS)
def test_nli_from_lengths(language, measure, which):
    train, dev = (
        [(LENGTHS[which](*map(MEASURES[measure], said)), label) for *said, label in spoken_pairs(split, language, size)]
        for split, size in (("train", TRAIN), ("dev", DEV))
    )
    found = lookup_accuracy(train, dev, lambda row: row[1], lambda row: row[0])
    assert found <= 0.40, f"lengths in {measure} ({which}) give {found:.3f}; chance .333.{MEANING}"


def changed(row):
    premise, hypothesis = set(row["text"].split()), set(row["text_pair"].split())
    return [f"+{word}" for word in hypothesis - premise] + [f"-{word}" for word in premise - hypothesis]


def changed_classes(row, classes):
    return tuple(sorted({change[0] + classes[change[1:]] for change in changed(row)}))


def word_classes(language):
    """Returns the class of every form: what a reader who knows the words, but not the order, would use."""
    classes = {form: concept for concept, form in lexicon.lexicons()[language].items()}
    names = ontology.CLASS_OF | dict.fromkeys(ontology.VERBS, "verb")
    return {form: names.get(concept, concept) for form, concept in classes.items()}


def test_nli_from_added_and_dropped_words():
    """A word that was added or dropped weighs the same wherever it stood.

    This needs both sentences and the words' meaning, an opposite verb above all, so it is part of the task:
    entailment mostly turns nothing, contradiction one thing. What a bag cannot see are trades of agent and patient,
    nor a linear one that two turns cancel.
    """
    found = nli_regression("qen", changed)
    assert found <= 0.72, f"added and dropped words give {found:.3f}; chance .333.{MEANING}"


def test_nli_from_added_and_dropped_classes():
    """Not linear: all that can be known without order, by a reader who knows the class of every word.

    Entailment and contradiction, 2/3, differ by what was turned; of the neutral third, about half trade places and
    look like one of those. The truth is 1.0: the rest is word order.
    """
    train, dev = sides("world_nli", "qen")
    classes = word_classes("qen")
    found = lookup_accuracy(train, dev, lambda row: row["label"], lambda row: changed_classes(row, classes))
    assert found <= 0.77, f"added and dropped classes give {found:.3f}; chance .333.{MEANING}"


def choice_accuracy(train, dev, features, steps=60):
    """Scores a conditional logit: one score a choice, from the choice alone."""
    train = train[: TRAIN // 2]
    flat, flat_dev = ([features(choice) for row in rows for choice in row["choices"]] for rows in (train, dev))
    x, x_dev = indicators(flat, flat_dev)
    y = np.eye(4, dtype=np.float32)[[row["label"] for row in train]]
    weights, speed = np.zeros(x.shape[1], np.float32), 0.0
    for _ in range(steps):
        gradient = x.T @ (softmax((x @ weights).reshape(-1, 4)) - y).reshape(-1) / len(train)
        speed = 0.9 * speed - 0.5 * gradient
        weights = weights + speed
    return np.mean(np.argmax((x_dev @ weights).reshape(-1, 4), axis=1) == [row["label"] for row in dev])


@pytest.mark.parametrize("language", LANGUAGES)
def test_choice_from_choices(language):
    found = choice_accuracy(*sides("world_choice", language), words_and_neighbours)
    assert found <= 0.33, f"choices alone give {found:.3f}; chance .25.{MEANING}"


def test_choice_from_place_and_overlap():
    """Neither the place in the list nor the number of words shared with the text points at an answer."""
    train, dev = sides("world_choice", "qen")

    def overlaps(row):
        return tuple(len(set(row["text"].split()) & set(choice.split())) for choice in row["choices"])

    for features in (lambda row: None, overlaps):
        found = lookup_accuracy(train, dev, lambda row: row["label"], features)
    assert found <= 0.33, f"{found:.3f}; chance .25.{MEANING}"


def span(row):
    answer = row["answers"][0]
    first = row["context"][: answer["start"]].count(" ")
    return first, first + answer["text"].count(" ")


QA_BLIND = {
    # chance: a uniform word of about 15 is right in .05
    "position": (lambda row: None, 0.15),
    "question word and position": (lambda row: row["question"].split()[0], 0.20),
}


@pytest.mark.parametrize("task", ["world_qa", "world_qa2"])
@pytest.mark.parametrize("blind", QA_BLIND)
def test_qa_from_position(task, blind):
    features, bound = QA_BLIND[blind]
    found = lookup_accuracy(*sides(task, "qen"), span, features)
    assert found <= bound, f"{blind} gives {found:.3f}.{MEANING}"


@pytest.mark.parametrize("task", ["world_qa", "world_qa2"])
def test_qa_asks_every_sentence_alike(task):
    shares = collections.Counter()
    for row in read(task, "train", "qen", 2 * TRAIN):
        sentences = row["context"].count(".")
        shares[sentences, row["context"][: row["answers"][0]["start"]].count(".")] += 1
    for sentences in (2, 3):
        total = sum(count for (size, _), count in shares.items() if size == sentences)
        for place in range(sentences):
            share = shares[sentences, place] / total
            error = (1 / sentences * (1 - 1 / sentences) / total) ** 0.5
            assert abs(share - 1 / sentences) < 3.5 * error, (sentences, place, share, error)
