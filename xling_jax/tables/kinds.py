"""Kinds of task: what an example is, what a head answers, how the answer is scored.

Raw examples are dicts. All kinds have `id`: a string that is the same for translations of one
example, so that statistics can treat parallel items as one.

    mlm                  id, text; and optionally text_pair
    pair_classification  id, text, text_pair, label (a word of the row's labels)
    span_qa              id, question, context, answers: list of {text, start}, start in characters
    tagging              id, tokens: list of str, tags: list of words of the row's labels
    multiple_choice      id, text, choices: list of str, label (index of the right choice)
    retrieval            id, text (the language), text_pair (its translation in the pivot language)
"""

import dataclasses

# Tokens of a packed row that a segment takes at least, padding after it where it is shorter. So a row of L tokens has
# at most L // SHORTEST segments, and as many masked tokens: 15% of an example's n own tokens (rounded, at least one)
# are never more than a sixth of its n + 2 or more tokens.
SHORTEST = 6


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of task. `metrics[0]` is the one that is reported; all are per-example ratios of sums.

    `packs`: several examples can stand in one row of a batch, each a segment of its own.
    """

    name: str
    fields: tuple[str, ...]
    metrics: tuple[str, ...]
    trained: bool = True
    packs: bool = False


_ROWS = (
    Kind("mlm", ("text",), (), packs=True),
    Kind("pair_classification", ("text", "text_pair", "label"), ("accuracy",), packs=True),
    Kind("span_qa", ("question", "context", "answers"), ("f1", "exact_match"), packs=True),
    Kind("tagging", ("tokens", "tags"), ("f1", "accuracy"), packs=True),
    Kind("multiple_choice", ("text", "choices", "label"), ("accuracy",)),
    Kind("retrieval", ("text", "text_pair"), ("accuracy",), trained=False),
)

KINDS = {row.name: row for row in _ROWS}
