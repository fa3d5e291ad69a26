"""Threads of a group take turns, wait for one another at each step, and go on when one of them has left."""

import concurrent.futures
import dataclasses
import types

import numpy as np
import pytest

from xling_jax.errors import ConfigError, NumericalError
from xling_jax.experiment import Experiment, Optim, Stage
from xling_jax.ledger import Ledger
from xling_jax.mixing import Mixing
from xling_jax.models.build import HeadSpec
from xling_jax.partitioning import hosts
from xling_jax.selection import Selection
from xling_jax.stages import trials
from xling_jax.stages.plan import Node
from xling_jax.stages.trials import Group, Solo, check_trials, companies, groups

LIMIT = 20  # seconds: a group that waits for ever fails
HEAD = HeadSpec("nli", "pair_classification", 3)
STAGE = Stage(data=("world_nli.train.qen",), steps=9)


def node(seed: int = 0, name: str = "a", heads=(HEAD,), **more) -> Node:
    return Node(name, f"{name}{seed}", dataclasses.replace(STAGE, **more), seed, None, heads)


@pytest.fixture
def taken(monkeypatch):
    """Puts lists in the place of programs: [(step, seeds) for each time that steps were taken]."""
    found = []

    def take(come):
        if any(one.batch == "broken" for one in come):
            raise NumericalError("no memory, say")
        found.append((come[0].step, [one.work.seed for one in come]))
        return [(one.state + 1, {"seed": one.work.seed}) for one in come]

    monkeypatch.setattr(trials, "_at_once", take)
    monkeypatch.setattr(trials, "_alone", lambda come: take([come])[0])
    monkeypatch.setattr(trials, "_to_host", lambda state: state)
    return found


PROGRAMS = types.SimpleNamespace(state_maker=lambda heads, optim: (None, None))


def train(company, seed, start, steps, *, pattern=(), stop=lambda at: False, batch="batch", after=lambda at: None):
    """Trains as the loop does, until it is to stop; returns the last state, which counts steps."""
    asked = {"at": start}
    with company:
        source = types.SimpleNamespace(pattern=pattern)
        given = PROGRAMS, node(seed), source, start, lambda: stop(asked["at"])
        step_fns, place, stopping = company.training(*given)
        state = start
        for at in range(start, steps):
            asked["at"] = at
            state, metrics = step_fns["nli"](state, place(batch), 0.1)
            assert metrics["seed"] == seed and state == at + 1
            after(at)
            if stopping():
                break
        return state


def run(*how):
    """Runs trainings in threads; returns the futures."""
    members = companies(len(how))
    with concurrent.futures.ThreadPoolExecutor(len(how)) as pool:
        futures = [
            pool.submit(train, company, seed, **each)
            for seed, (company, each) in enumerate(zip(members, how, strict=True))
        ]
        _, waiting = concurrent.futures.wait(futures, LIMIT)
        if waiting:  # the threads would keep the test from ending
            for member in members:
                member._group._done.update(dict.fromkeys(members, RuntimeError("it waits for ever")))
                with member._group.turn:
                    member._group.turn.notify_all()
        assert not waiting
    return futures


def test_all_take_each_step_together(taken):
    futures = run(*[{"start": 0, "steps": 3}] * 3)
    assert [future.result() for future in futures] == [3, 3, 3]
    assert taken == [(at, [0, 1, 2]) for at in range(3)]


def test_who_is_behind_goes_on_until_all_are_at_one_step(taken):
    run({"start": 2, "steps": 5}, {"start": 0, "steps": 5}, {"start": 2, "steps": 5})
    assert taken == [(0, [1]), (1, [1]), *((at, [0, 1, 2]) for at in (2, 3, 4))]


def test_who_has_enough_leaves_and_the_others_go_on(taken):
    run({"start": 0, "steps": 2}, {"start": 0, "steps": 4}, {"start": 4, "steps": 4}, {"start": 0, "steps": 4})
    assert taken == [(0, [0, 1, 3]), (1, [0, 1, 3]), (2, [1, 3]), (3, [1, 3])]


def test_what_cannot_be_stacked_takes_turns(taken):
    run(*({"start": 0, "steps": 2, "pattern": pattern} for pattern in ("a", "b", "a")))
    assert taken == [(0, [0, 2]), (0, [1]), (1, [0, 2]), (1, [1])]


def test_all_stop_at_the_step_at_which_one_is_asked(taken):
    futures = run(*({"start": 0, "steps": 9, "stop": lambda at, s=s: s == 1 and at == 3} for s in range(3)))
    assert [future.result() for future in futures] == [4, 4, 4]


def test_an_error_of_the_program_is_everyones_and_of_a_trial_its_own(taken):
    for future in run({"start": 0, "steps": 2, "batch": "broken"}, {"start": 0, "steps": 2}):
        with pytest.raises(NumericalError, match="no memory"):
            future.result()

    def diverge(at):
        if at == 1:
            raise NumericalError("The loss of step 1 is not finite.")

    bad, good = run({"start": 0, "steps": 3, "after": diverge}, {"start": 0, "steps": 3})
    assert good.result() == 3 and taken[-1] == (2, [1])
    with pytest.raises(NumericalError, match="step 1"):
        bad.result()


def test_time_that_others_wait_for_is_no_time_of_their_steps(taken, monkeypatch):
    """A second of saving is everyone's second of saving, so that none of them counts it as a step."""
    clock = iter(range(1000))
    monkeypatch.setattr(trials.time, "perf_counter", lambda: float(next(clock)))
    group, spent = Group(2), {}

    def of(company, seed):
        with company, Ledger().event("train") as event:
            step_fns, _, _ = company.training(PROGRAMS, node(seed), types.SimpleNamespace(pattern=()), 0, lambda: False)
            for _ in range(3):
                step_fns["nli"](0, "batch", 0.1)
                if not seed:
                    with company.beside("save"):
                        pass
            spent[seed] = dict(event.spent)

    monkeypatch.setattr(trials, "_at_once", lambda come: [(0, {})] * len(come))
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        concurrent.futures.wait([pool.submit(of, trial, seed) for seed, trial in enumerate(group.trials)], LIMIT)
    assert spent[0].get("save", 0.0) == 0.0, "its own saves are events"
    assert spent[1]["save"] >= 2.0, "two of three at least: the last one may come when it has ended"


@pytest.mark.parametrize(
    ("other", "together"),
    [
        ({"seed": 1}, True),
        ({"optim": Optim(learning_rate=0.5, warmup=0.0, schedule="constant")}, True),
        ({"save_every": 3, "selection": Selection(("source_dev",), "world_nli.dev.qen"), "log_every": 7}, True),
        ({"data": ("world_nli.train.qda",), "examples": 9, "mixing": Mixing("uniform")}, True),
        ({"batch_size": 16}, False),
        ({"steps": 10}, False),
        ({"steps": 0, "epochs": 1.0}, False),
        ({"optim": Optim(weight_decay=0.5)}, False),
        ({"packing": True}, False),
        ({"accumulate": 2}, False),
        ({"max_length": 64}, False),
        ({"heads": (HeadSpec("pos", "tagging", 17),)}, False),
    ],
)
def test_what_is_alike(other, together):
    assert len(groups([node(), node(**other)], 2)) == (1 if together else 2)


def test_epochs_are_alike_for_the_same_data_only():
    by_epochs = {"steps": 0, "epochs": 1.0}
    assert len(groups([node(**by_epochs), node(1, **by_epochs)], 2)) == 1
    assert len(groups([node(**by_epochs), node(1, **by_epochs, data=("world_nli.train.qda",))], 2)) == 2


def test_groups_are_no_larger_than_asked_and_in_order():
    nodes = [node(0), node(0, "b", steps=3), node(1), node(2), node(1, "b", steps=3)]
    assert [[each.hash for each in group] for group in groups(nodes, 2)] == [["a0", "a1"], ["b0", "b1"], ["a2"]]
    assert [len(group) for group in groups(nodes, 1)] == [1] * 5
    assert isinstance(companies(1)[0], Solo)


def test_meshes_that_divide_parameters_are_refused(monkeypatch):
    with pytest.raises(ConfigError, match=r"--trials=2, .*'x', 'data2_fsdp4', divides parameters\.\nAllowed: a mesh"):
        check_trials(2, [Experiment(), Experiment(name="x", mesh="data2_fsdp4")])
    check_trials(1, [Experiment(mesh="data2_fsdp4")])
    check_trials(8, [Experiment(mesh="any"), Experiment(mesh="4x1x1")])
    monkeypatch.setattr(hosts, "count", lambda: 2)
    with pytest.raises(ConfigError, match=r"--trials=2 on 2 hosts\.\nAllowed: one host"):
        check_trials(2, [Experiment()])


def test_a_part_of_a_metric_is_read_as_a_number():
    picked = trials.Picked(np.array([1.5, 2.5], np.float32), 1)
    assert float(np.asarray(picked)) == 2.5
