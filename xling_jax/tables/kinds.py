"""Kinds of task: what an example is, what a head answers, how the answer is scored.

Raw examples are dicts. All kinds have `id`: a string that is the same for translations of one
example, so that statistics can treat parallel items as one. Machine translations of training examples
also have `source_id`, which is the same for all translations of one English example.

    mlm                  id, text; and optionally text_pair
    pair_classification  id, text, text_pair, label (a word of the row's labels)
    span_qa              id, question, context, answers: list of {text, start}, start in characters, -1 for an
                         answer that is not a slice of the context; no answers where the question has none
    tagging              id, tokens: list of str, tags: list of words of the row's labels
    multiple_choice      id, text, choices: list of str, label (index of the right choice)
    retrieval            id, text (the language), text_pair (its translation in the pivot language)
    mining               id, text, side ("language" or "pivot"), gold: ids of its translations on the other side;
                         sentences of the pivot's side have none
    dual_encoder         id, text, side ("query" or "candidate"), gold: ids of the candidates that answer a query;
                         candidates have none. To train on: id, text (a query), text_pair (what answers it).
                         Both may have context: what the candidate stands in

`label`, `tags`, `answers` and `gold` are None where they are withheld.
"""

import dataclasses

# Tokens of a packed row that a segment takes at least, padding after it where it is shorter. So a row of L tokens has
# at most L // SHORTEST segments, and as many masked tokens: 15% of an example's n own tokens (rounded, at least one)
# are never more than a sixth of its n + 2 or more tokens.
SHORTEST = 6
# Tokens of the rows that texts are read in when they are evaluated, unless they are longer, or none has as many: most
# sentences of the benchmarks' tasks have fewer, and a longer row costs them attention to nothing.
ROW = 128


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of task. `metrics[0]` is the one that is reported; all are per-example ratios of sums.

    `trained`: models have a head for it, and there is a loss. `training` are the fields of an example to train on,
    where they are others. `evaluated`: there is an evaluator for it; otherwise a model's answers can be scored if
    they come from elsewhere.
    `packs`: several examples can stand in one row of a batch, each a segment of its own. `length` is the longest input,
    in tokens, of the published recipes of XTREME: what a checkpoint is evaluated with, if nothing else is said.
    `parallel`: an example is a sentence and its translation into the pivot language.
    """

    name: str
    fields: tuple[str, ...]
    metrics: tuple[str, ...]
    trained: bool = True
    training: tuple[str, ...] = ()
    evaluated: bool = True
    packs: bool = False
    length: int = 128
    parallel: bool = False


_ROWS = (
    Kind("mlm", ("text",), (), packs=True, evaluated=False),
    Kind("pair_classification", ("text", "text_pair", "label"), ("accuracy",), packs=True),
    Kind("span_qa", ("question", "context", "answers"), ("f1", "exact_match"), packs=True, length=384),
    Kind("tagging", ("tokens", "tags"), ("f1", "accuracy"), packs=True),
    Kind("multiple_choice", ("text", "choices", "label"), ("accuracy",)),
    Kind("retrieval", ("text", "text_pair"), ("accuracy",), trained=False, length=512, parallel=True),
    Kind("mining", ("text", "side", "gold"), ("f1",), trained=False, length=512),
    Kind("dual_encoder", ("text", "side", "gold"), ("map@20",), training=("text", "text_pair"), length=256),
)

KINDS = {row.name: row for row in _ROWS}
