"""Files of answers, by kind of task, as the benchmarks' scorer wants them.

pair_classification  tsv: a label word on each line
tagging              tsv: a tag on each line, a blank line after each sentence
retrieval            tsv: on each line the number of the sentence, from 0, that translates an English one; the
                     English ones are in the order of their characters, as XTREME's download sorts them
mining               tsv: id<TAB>id on each line, in any order
multiple_choice      jsonl: {"label": number of the choice, from 0} on each line
span_qa              json: {id: answer}; of labels SQuAD's JSON
dual_encoder         json: {id: [ids of candidates, the best first]}
"""

import dataclasses
from collections.abc import Callable, Sequence

from xling_jax.scoring import documents, lines
from xling_jax.scoring.files import Scored, ScoreFile
from xling_jax.tables.rows.task import Task


@dataclasses.dataclass(frozen=True)
class Layout:
    """The files of a kind of task.

    `ending` is that of labels and predictions. `score` takes labels, predictions, the task's row and the language.
    `gold` returns the label file of raw examples. `corrected` names the rule of the corrected metrics, if there is one.
    """

    ending: str
    score: Callable[[ScoreFile, ScoreFile, Task, str], Scored]
    gold: Callable[[Sequence[dict]], str]
    corrected: str = ""


LAYOUTS = {
    "pair_classification": Layout("tsv", lines.score_labels, lines.gold_labels),
    "tagging": Layout("tsv", lines.score_tags, lines.gold_tags, "token accuracy"),
    "retrieval": Layout("tsv", lines.score_numbers, lines.gold_numbers),
    "mining": Layout("tsv", lines.score_pairs, lines.gold_pairs),
    "multiple_choice": Layout("jsonl", lines.score_choices, lines.gold_choices),
    "span_qa": Layout("json", documents.score_answers, documents.gold_answers, "mixed segmentation"),
    "dual_encoder": Layout("json", documents.score_rankings, documents.gold_rankings),
}
