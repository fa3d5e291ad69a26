"""How often the cells of a stage are drawn: the one definition that Grain's batches and SeqIO's mixtures share.

`counts` are features, as everywhere in training: a text that becomes several inputs counts as several.
"""

import dataclasses
import math
from collections.abc import Sequence

RULES = ("proportional", "temperature", "uniform")


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How a stage shares its draws among its cells. A cell that runs out of examples begins anew.

    `rule` gives a cell of n features the weight n ("proportional"), n^(1/T) with `temperature` T ("temperature"), or
    1 ("uniform"). With a `cap`, n is at most that. These are the mixtures of T5 (Raffel et al. 2020, section 3.5.2),
    which jiant has too; sampling of languages with the exponent 0.3 (XLM-R, Conneau et al. 2020) is T = 1/0.3.

    With `rates`, one for each item of the stage's data, the items are drawn at these rates whatever their size,
    and the rule shares the draws of an item among its cells. So masked LM is mixed into a task at a rate.
    """

    rule: str = "proportional"  # proportional | temperature | uniform
    cap: int = 0  # most features that count of a cell; 0 for all
    temperature: float = 1.0
    rates: tuple[float, ...] = ()


def _counted(mixing: Mixing, counts: Sequence[int]) -> list[int]:
    return [min(count, mixing.cap) if mixing.cap else count for count in counts]


def cell_rates(mixing: Mixing, counts: Sequence[int], items: Sequence[int]) -> tuple[float, ...]:
    """Returns how often each cell is drawn, up to a factor that all have in common.

    Args:
      mixing: what is declared.
      counts: the features of each cell.
      items: for each cell the number of the item of data that it belongs to.
    """
    exponent = {"proportional": 1.0, "temperature": 1 / mixing.temperature, "uniform": 0.0}[mixing.rule]
    weights = [count**exponent for count in _counted(mixing, counts)]
    if not mixing.rates:
        return tuple(weights)
    of_item = [math.fsum(w for w, other in zip(weights, items, strict=True) if other == item) for item in items]
    return tuple(mixing.rates[item] * w / total for w, item, total in zip(weights, items, of_item, strict=True))


def epoch_steps(mixing: Mixing, counts: Sequence[int], of_step: float) -> float:
    """Returns the steps of an epoch: as many draws as the cells have features, counted up to the cap.

    With a cap each cell's last batch is rounded up, so that the steps are those of jiant: the sum of
    ceil(min(n, cap) / batch size). Where rates are not proportional an epoch is a length, and says nothing of
    how often a feature comes.

    Args:
      mixing: what is declared.
      counts: the features of each cell.
      of_step: the features of a step: the batch size, or with packing their mean number.
    """
    counted = _counted(mixing, counts)
    if not mixing.cap:
        return sum(counted) / of_step
    return float(sum(math.ceil(count / of_step) for count in counted))
