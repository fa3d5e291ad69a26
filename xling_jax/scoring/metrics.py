"""Answers and references to numbers, by the rules of the published scorers.

A metric is an array (N, 2) of numerators and denominators, one row for each example; its value is the
ratio of the sums, in percent. So a bootstrap draws rows, and parts of a data set can be added up.

Scorer ids, which every result row carries:

    accuracy                   answers compared as strings ("1" is not "1.0"); also retrieval
    squad-v1.1                 F1 and exact match with English normalisation in every language, as
                               XQuAD and TyDiQA are scored (Rajpurkar et al. 2016, arXiv 1606.05250)
    mlqa                       the same with articles, punctuation and words of the language (Lewis et al. 2020,
                               arXiv 1910.07475); for the seven languages of MLQA and no other
    squad-v2.0                 the same where a question may have no answer: "" is right there, and wrong
                               elsewhere (Rajpurkar et al. 2018, arXiv 1806.03822)
    chunk-f1/seqeval-0.0.12    F1 over chunks by seqeval's rule up to 0.0.13, and token accuracy. Later
                               seqeval takes CCONJ and SCONJ for one type and gives other numbers.
    bucc-pairs                 F1 over the set of pairs of ids, as BUCC 2018 is scored
    map@20                     mean average precision of the first 20, each divided by the number of gold
                               candidates, at most 20, as XTREME-R scores LAReQA; for Mewsli-X, where one
                               candidate is gold, it is the mean reciprocal rank
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xling_jax.errors import DataError, choose
from xling_jax.scoring.chunks import Tagset
from xling_jax.scoring.spans import SQUAD, Rule, compare, mlqa_rule, words

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
    return {"accuracy": _shares([str(t) == str(p) for t, p in zip(targets, predictions, strict=True)])}


def squad(targets: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> Pairs:
    """Returns `f1` and `exact_match` of SQuAD v1.1; the best over an example's gold answers.

    An answer that is missing (None) scores 0 and counts. If both answers normalise to nothing, exact
    match is 1 and F1 is 0, as the published scorer has it.
    """
    return _spans(targets, predictions, SQUAD)


def squad2(targets: Sequence[Sequence[str]], predictions: Sequence[str | None]) -> Pairs:
    """Returns `f1` and `exact_match` of SQuAD v2.0, where a question without gold answers wants an empty one.

    Answers that normalise to nothing are no answers: a gold one does not count, and two of them are the same.
    """
    _check_count("answers", targets, predictions)
    _check_labels("answers", targets)
    said = dict.fromkeys(text for golds in targets for text in golds)
    empty = {text for text, found in zip(said, words(list(said), SQUAD), strict=True) if not found} if said else set()
    golds = [[text for text in each if text not in empty] or [""] for each in targets]
    f1, exact = compare(golds, predictions, SQUAD)
    return {"f1": _shares([max(pair) for pair in zip(f1, exact, strict=True)]), "exact_match": _shares(exact)}


def mlqa(targets: Sequence[Sequence[str]], predictions: Sequence[str | None], language: str) -> Pairs:
    """Returns `f1` and `exact_match` by MLQA's rule for a language; ConfigError if it has none for it."""
    return _spans(targets, predictions, mlqa_rule(language))


def _spans(targets: Sequence[Sequence[str]], predictions: Sequence[str | None], rule: Rule) -> Pairs:
    _check_count("answers", targets, predictions)
    _check_labels("answers", targets)
    if not all(targets):
        raise DataError("A question has no gold answer.\nAllowed: at least one; SQuAD v1.1's rule knows no other.")
    f1, exact = compare(targets, predictions, rule)
    return {"f1": _shares(f1), "exact_match": _shares(exact)}


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
    if len(gold) == 1:
        first = ranked[:CUT]
        return 1 / (first.index(gold[0]) + 1) if gold[0] in first else 0.0
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
    for number, (gold, tags) in enumerate(zip(targets, predictions, strict=True), start=1):
        _check_count(f"tags of sentence {number}", gold, tags)
    tagset = Tagset(list(dict.fromkeys(tag for each in (targets, predictions) for tags in each for tag in tags)))
    gold_T, tags_T = (_joined(each, tagset) for each in (targets, predictions))
    both_T, gold_ends_T, ends_T = tagset.matches(gold_T, tags_T)
    lengths_N = np.array([len(tags) for tags in targets], np.int64)
    sentence_T = np.repeat(np.arange(len(targets)), lengths_N + 1)
    right_T = gold_T == tags_T
    right_T[np.cumsum(lengths_N + 1) - 1] = False  # between sentences

    def count(where_T: np.ndarray) -> np.ndarray:
        return np.bincount(sentence_T[where_T], minlength=len(targets)).astype(np.float64)

    return {
        "f1": np.stack([2 * count(both_T), count(gold_ends_T) + count(ends_T)], axis=1),
        "accuracy": np.stack([count(right_T), lengths_N.astype(np.float64)], axis=1),
    }


def _joined(sentences: Sequence[Sequence[str]], tagset: Tagset) -> np.ndarray:
    """Returns the numbers of all tags, 'O' after each sentence."""
    numbers = [tagset.number_of[tag] for tags in sentences for tag in (*tags, "O")]
    return np.array(numbers, np.int64)


@dataclasses.dataclass(frozen=True)
class Scorer:
    """How answers of a kind of task are scored: the id, the target of a raw example, the metric.

    `by_language`: the metric takes a third argument, the code of the language.
    """

    id: str
    target: Callable[[dict], Any]
    score: Callable[..., Pairs]
    by_language: bool = False

    def pairs(self, targets: Sequence[Any], predictions: Sequence[Any], language: str) -> Pairs:
        """Returns the metrics; the language is passed on where the rule goes by it."""
        return self.score(targets, predictions, *([language] if self.by_language else []))


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


RULES = {  # that tasks name in place of their kind's
    "mlqa": Scorer("mlqa", _gold_texts, mlqa, by_language=True),
    "squad2": Scorer("squad-v2.0", _gold_texts, squad2),
}


def scorer_of(kind: str, rule: str = "") -> Scorer:
    """Returns the scorer that a task names in its column `scorer`, or that of its kind."""
    return choose("scorer", rule, RULES, "Scorers are in xling_jax/scoring/metrics.py.") if rule else SCORERS[kind]


def score(kind: str, examples: Sequence[dict], predictions: Sequence[Any], language: str = "", rule: str = "") -> Pairs:
    """Returns the metrics of a kind of task over raw examples.

    Args:
      kind: the kind.
      examples: raw examples.
      predictions: label words, indices of choices, answer texts, lists of tags; for retrieval the id of the
        example that was found, for mining the ids of a sentence's translations, for dual encoders the ids of
        candidates, the best first.
      language: the code of the examples' language; needed where the rule goes by it.
      rule: the task's column `scorer`, "" for the kind's own.
    """
    scorer = scorer_of(kind, rule)
    return scorer.pairs([scorer.target(example) for example in examples], predictions, language)


def _shares(numerators: Sequence[float]) -> np.ndarray:
    """Returns rows of a numerator and 1."""
    return np.stack([np.array(numerators, np.float64), np.ones(len(numerators))], axis=1)


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
