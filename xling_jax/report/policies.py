"""What each way of choosing a checkpoint would have scored, side by side."""

from collections.abc import Sequence

from xling_jax.report.aggregate import bound_rows, difference, mark_floor, mean_score
from xling_jax.report.averages import zero_shot
from xling_jax.report.collapse import Runs
from xling_jax.report.collect import Collected
from xling_jax.report.record import Target
from xling_jax.report.table import NONE, Column, Number, Row, Table, count
from xling_jax.selection import COMPARISONS, POLICIES

LOOKS = "looks at the target"


def policies(collected: Collected, target: Target) -> list[str]:
    """Returns the policies that were asked for or measured; those that look at the target language come last."""
    measured = [name for name, scores in collected.by_policy.items() if any(key[2] == target.name for key in scores)]
    record = collected.record
    found = {record.own_policy(target.name), *record.asked_of(target.name), *measured}
    others = sorted(found.difference(POLICIES, COMPARISONS))
    return [name for name in (*POLICIES, *others, *COMPARISONS) if name in found]


def policy_table(collected: Collected, target: Target) -> Table:
    """Returns arms by policies: the mean over zero-shot languages, and its difference to the experiment's policy."""
    record, codes = collected.record, zero_shot(collected.record, target)
    names = policies(collected, target)
    scores = tuple(
        Column(name, LOOKS, codes, "measure") if name in COMPARISONS else Column(name, "policy", codes, "value")
        for name in names
    )
    own = record.own_policy(target.name)
    others = [name for name in names if name != own]
    gaps = tuple(Column(f"{name} − {own}", "selection gap", codes, "gain") for name in others)
    rows = []
    if others and codes:
        bounds = bound_rows(collected.scores, target, scores)
        rows += [Row(arm, "arm", _numbers(collected, target, arm, names, bounds[0].numbers[0])) for arm in record.arms]
        rows += [Row(bound.label, "bound", (*bound.numbers, *(NONE for _ in others))) for bound in bounds]
    note = (
        f"{target.metric} in percent, mean over {count(codes, 'zero-shot language')} and over seeds, of the checkpoint "
        f"that each policy chooses from the same training. All other tables show {own}; the selection gap is "
        f"the difference to it. {' and '.join(COMPARISONS)} look at scores in the target language: they say what "
        "selection could gain, and are not zero-shot."
    )
    return Table("policies", f"{target.name}: selection policies", note, (*scores, *gaps), tuple(rows))


def _numbers(collected: Collected, target: Target, arm: str, names: Sequence[str], floor: Number) -> tuple[Number, ...]:
    record = collected.record
    runs, codes = Runs(arm, record.seeds), zero_shot(record, target)
    own = record.own_policy(target.name)
    rows = {name: collected.by_policy.get(name, {}) for name in names} | {own: collected.scores}
    scores = {name: mean_score(rows[name], target, runs, codes) for name in names}
    gaps = (difference(scores[name], scores[own]) for name in names if name != own)
    return (*(mark_floor(number, floor) for number in scores.values()), *gaps)
