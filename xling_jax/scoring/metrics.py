"""Answers and references to numbers, by the rules of the published scorers.

A metric is an array (N, 2) of numerators and denominators, one row for each example; its value is the
ratio of the sums, in percent. So a bootstrap draws rows, and parts of a data set can be added up.

Scorer ids, which every result row carries:

    accuracy                   answers compared as strings ("1" is not "1.0"); also retrieval
    squad-v1.1                 F1 and exact match with English normalisation in every language, as
                               XQuAD and TyDiQA are scored (Rajpurkar et al. 2016, arXiv 1606.05250)
    chunk-f1/seqeval-0.0.12    F1 over chunks by seqeval's rule up to 0.0.13, and token accuracy. Later
                               seqeval takes CCONJ and SCONJ for one type and gives other numbers.
    bucc-pairs                 F1 over the set of pairs of ids, as BUCC 2018 is scored
    map@20                     mean average precision of the first 20, each divided by the number of gold
                               candidates, at most 20, as XTREME-R scores LAReQA; for Mewsli-X, where one
                               candidate is gold, it is the mean reciprocal rank
"""

import bisect
import collections
import dataclasses
import re
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xling_jax.errors import DataError

Pairs = dict[str, np.ndarray]


def value(pairs_Nx2: np.ndarray) -> float:
    """Returns 100 * sum of numerators / sum of denominators; 0 if there was nothing to find."""
    assert len(pairs_Nx2), "a value of no examples"
    numerator, denominator = pairs_Nx2.sum(0)
    return float(100 * numerator / denominator) if denominator else 0.0


def accuracy(targets: Sequence[Any], predictions: Sequence[Any]) -> Pairs:
    """Returns `accuracy`: the share of answers that are the same string."""
    _check_count("answers", targets, predictions)
    _check_labels("answers", targets)
    return {"accuracy": _pairs((float(str(t) == str(p)), 1.0) for t, p in zip(targets, predictions, strict=True))}


def squad(targets: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> Pairs:
    """Returns `f1` and `exact_match` of SQuAD v1.1; the best over an example's gold answers.

    An answer that is missing (None) scores 0 and counts. If both answers normalise to nothing, exact
    match is 1 and F1 is 0, as the published scorer has it.
    """
    _check_count("answers", targets, predictions)
    _check_labels("answers", targets)
    scores = [_squad_scores(golds, answer) for golds, answer in zip(targets, predictions, strict=True)]
    return {"f1": _pairs((f1, 1.0) for f1, _ in scores), "exact_match": _pairs((exact, 1.0) for _, exact in scores)}


def _squad_scores(golds: Sequence[str], answer: str | None) -> tuple[float, float]:
    if not golds:
        raise DataError("A question has no gold answer.\nAllowed: at least one; SQuAD v1.1's rule knows no other.")
    if answer is None:
        return 0.0, 0.0
    words = normalise(answer)
    gold_words = [normalise(gold) for gold in golds]
    return max(_word_f1(gold, words) for gold in gold_words), float(words in gold_words)


def normalise(answer: str) -> list[str]:
    """Returns the words of an answer: lower case, without ASCII punctuation, without a, an, the."""
    kept = answer.lower().translate(_NO_PUNCTUATION)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _word_f1(gold: list[str], words: list[str]) -> float:
    shared = (collections.Counter(gold) & collections.Counter(words)).total()
    return 2 * shared / (len(gold) + len(words)) if shared else 0.0


def mining(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Pairs:
    """Returns `f1` over the pairs of a sentence and each id of its translations; a pair counts once.

    A row is (2 * pairs in both, pairs that are gold + pairs that were found): nothing for a sentence without either.
    """
    _check_count("sets of translations", targets, predictions)
    _check_labels("pairs", targets)
    both = [(set(gold), set(found)) for gold, found in zip(targets, predictions, strict=True)]
    return {"f1": _pairs((2.0 * len(gold & found), float(len(gold) + len(found))) for gold, found in both)}


CUT = 20  # candidates of a ranking that count


def ranking(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str] | None]) -> Pairs:
    """Returns `map@20`. A prediction is ids of candidates, the best first; one that is missing (None) scores 0."""
    _check_count("rankings", targets, predictions)
    _check_labels("candidates", targets)
    return {"map@20": _pairs((_average_precision(g, r or ()), 1.0) for g, r in zip(targets, predictions, strict=True))}


def _average_precision(gold: Sequence[str], ranked: Sequence[str]) -> float:
    """Returns the mean, over the gold candidates, of the precision at each one's rank; 0 for one beyond rank 20."""
    if not gold:
        raise DataError("A query has no gold candidate.\nAllowed: at least one; candidates are not scored.")
    missing, total = set(gold), 0.0
    for rank, name in enumerate(ranked[:CUT], start=1):
        if name in missing:
            missing.remove(name)
            total += (len(set(gold)) - len(missing)) / rank
    return total / min(len(set(gold)), CUT)


def tagging(targets: Sequence[Sequence[str]], predictions: Sequence[Sequence[str]]) -> Pairs:
    """Returns `f1` over chunks and `accuracy` over tokens, both micro-averaged over all sentences.

    A row of `f1` is (2 * chunks in both, chunks of the target + chunks of the prediction).

    Raises:
      DataError: a sentence and its prediction differ in length.
    """
    _check_count("sentences", targets, predictions)
    _check_labels("tags", targets)
    f1, right = [], []
    for number, (gold, tags) in enumerate(zip(targets, predictions, strict=True), start=1):
        _check_count(f"tags of sentence {number}", gold, tags)
        gold_chunks, found = chunks(gold), chunks(tags)
        f1.append((2.0 * len(gold_chunks & found), float(len(gold_chunks) + len(found))))
        right.append((float(sum(g == t for g, t in zip(gold, tags, strict=True))), float(len(gold))))
    return {"f1": _pairs(f1), "accuracy": _pairs(right)}


def chunks(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Returns the chunks of one sentence, (type, first, last), by the rule of seqeval 0.0.12.

    A tag's class is its first character and its type is what follows its last '-'. So `B-PER` has
    class B and type PER; the part of speech `NOUN` has class N and type NOUN. In a text tagged with
    parts of speech a run of one tag is one chunk, but each tag that begins with S (SCONJ, SYM) is a
    chunk by itself, as if S meant 'single'.
    """
    parts = [(tag[0], tag.rpartition("-")[2]) for tag in (*tags, "O")]
    borders = list(enumerate(zip([("O", ""), *parts], parts, strict=False)))
    starts = [i for i, (before, after) in borders if _starts(before, after)]
    ends = [i for i, (before, after) in borders if _ends(before, after)]
    found = set()
    for end in ends:
        position = bisect.bisect_left(starts, end)  # the last start before this border
        found.add((parts[end - 1][1], starts[position - 1] if position else 0, end - 1))
    return found


def _ends(before: tuple[str, str], after: tuple[str, str]) -> bool:
    """Says whether a chunk ends between two neighbours (class, type)."""
    if before[0] in ("E", "S") or before[0] + after[0] in ("BB", "BS", "BO", "IB", "IS", "IO"):
        return True
    return before[0] not in ("O", ".") and before[1] != after[1]


def _starts(before: tuple[str, str], after: tuple[str, str]) -> bool:
    """Says whether a chunk starts between two neighbours (class, type)."""
    if after[0] in ("B", "S") or before[0] + after[0] in ("EE", "EI", "SE", "SI", "OE", "OI"):
        return True
    return after[0] not in ("O", ".") and before[1] != after[1]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """How answers of a kind of task are scored: the id, the target of a raw example, the metric."""

    id: str
    target: Callable[[dict], Any]
    score: Callable[[Sequence[Any], Sequence[Any]], Pairs]


def _gold_texts(example: dict) -> list[str] | None:
    return None if example["answers"] is None else [answer["text"] for answer in example["answers"]]


SCORERS = {
    "pair_classification": Scorer("accuracy", lambda example: example["label"], accuracy),
    "multiple_choice": Scorer("accuracy", lambda example: example["label"], accuracy),
    "span_qa": Scorer("squad-v1.1", _gold_texts, squad),
    "tagging": Scorer("chunk-f1/seqeval-0.0.12", lambda example: example["tags"], tagging),
    "retrieval": Scorer("accuracy", lambda example: example["id"], accuracy),
    "mining": Scorer("bucc-pairs", lambda example: example["gold"], mining),
    "dual_encoder": Scorer("map@20", lambda example: example["gold"], ranking),
}


def score(kind: str, examples: Sequence[dict], predictions: Sequence[Any]) -> Pairs:
    """Returns the metrics of a kind of task over raw examples.

    Predictions are label words, indices of choices, answer texts, lists of tags; for retrieval the id of the
    example that was found, for mining the ids of a sentence's translations, for dual encoders the ids of candidates,
    the best first.
    """
    scorer = SCORERS[kind]
    return scorer.score([scorer.target(example) for example in examples], predictions)


def _pairs(rows: Any) -> np.ndarray:
    return np.array(list(rows), np.float64).reshape(-1, 2)


def _check_count(what: str, targets: Sequence[Any], predictions: Sequence[Any]) -> None:
    if len(targets) != len(predictions):
        raise DataError(
            f"{len(predictions)} predicted {what}, but {len(targets)} in the reference.\n"
            "Allowed: one prediction for each, in the same order."
        )


def _check_labels(what: str, targets: Sequence[Any]) -> None:
    if any(target is None for target in targets):
        raise DataError(
            f"The {what} of {sum(target is None for target in targets)} examples are withheld by their publisher.\n"
            "Allowed: a split with labels; here there are predictions to hand in and nothing to score."
        )
