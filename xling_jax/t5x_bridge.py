"""Our tasks under t5x, and the way to start it: the one module of ours that gin files and t5x load.

    python -m xling_jax.t5x_bridge train|eval|infer --gin_file=... --gin.NAME=...      # t5x's own program and flags
    python -m xling_jax.t5x_bridge sequence --workdir=W ... --stage=PHASE ...          # stages one after the other

A sequence takes what all stages share first, and behind each --stage=PHASE what is that stage's own:

    --workdir=W              stage i writes to W/<i>_<phase>; the same command goes on where it was
    --initial=CHECKPOINT     what the first stage begins with, a folder checkpoint_<step>; nothing if left out
    --stage=PHASE            pretrain, intermediate, target, evaluate or infer: gin/runs/PHASE.gin
    --steps=N                how many steps the stage trains, beyond those of the checkpoint that it begins with
    --fresh_optimizer        the stage begins with an optimizer that has seen nothing
    --gin_file, --gin.NAME=  go to t5x

To be run in a clone's root, where gin/ is. docs/t5x.md says how t5x is installed and has a whole run.
"""

import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import re
import runpy
import subprocess
import sys
import types
from collections.abc import Sequence
from typing import Any, NoReturn

from xling_jax.errors import EXIT_DONE, ConfigError, XlingError, choose, unknown

TESTED = "cc342d4"  # the commit of t5x, of April 2026
NEEDS = ("t5x", "cached_property", "clu", "fiddle", "gin", "importlib_resources", "jestimator", "tensorboard")
SCRIPTS = ("train", "eval", "infer")
PHASES = {  # a run in gin/runs: what of t5x runs it
    "pretrain": "train",
    "intermediate": "train",
    "target": "train",
    "evaluate": "eval",
    "infer": "infer",
}
WHERE = "docs/t5x.md says how."

# Logical axes in the order of t5x's rules, of which the first whose mesh axis is still free in an array wins; the mesh
# axis of those that are split; those that never are, behind t5x's the two that only our models have.
_AXES = ("batch", "vocab", "mlp", "heads", "kv", "joined_kv", "embed")
_SPLIT = {"batch": "data", "vocab": "model", "mlp": "model", "heads": "model", "joined_kv": "model"}
_WHOLE = ("relpos_buckets", "abspos_buckets", "length", "layers", "stack", "mlp_activations", "labels", "rank")


def mixture(
    data: str,
    lengths: dict[str, int],
    vocabulary: Any,
    *,
    rule: str = "proportional",
    cap: int = 0,
    temperature: float = 1.0,
    rates: Sequence[float] = (),
) -> str:
    """Registers cells with SeqIO as text-to-text tasks and returns the name of their task or mixture. For gin files.

    Args:
      data: cells, divided by spaces.
      lengths: of inputs and targets, in tokens.
      vocabulary: the model's.
      rule: how they are mixed, as all that follows; see xling_jax/mixing.py.
      cap: see there.
      temperature: see there.
      rates: see there.
    """
    from xling_jax.data.text_tasks import register_texts  # noqa: PLC0415 - imports SeqIO
    from xling_jax.mixing import Mixing  # noqa: PLC0415

    folder = os.environ.get("XLING_DATA")
    mixing = Mixing(rule, cap, temperature, tuple(rates))
    return register_texts(data.split(), lengths, vocabulary, pathlib.Path(folder) if folder else None, mixing)


def axis_rules(activation_dims: int = 1, parameter_dims: int = 1) -> list[tuple[str, str | None]]:
    """Returns (logical axis, mesh axis): t5x's standard rules, and the axes that only our models have.

    With two dimensions of activations the width is split over "model" too, with two of parameters over "data".
    """
    for dims in (activation_dims, parameter_dims):
        choose("dimension count", str(dims), {"1": 1, "2": 2}, "It is an argument of t5x_bridge.axis_rules.")
    embed = ["model"] * (activation_dims == 2) + ["data"] * (parameter_dims == 2) or [None]
    rules = [(axis, mesh) for axis in _AXES for mesh in (embed if axis == "embed" else [_SPLIT.get(axis)])]
    return rules + [(axis, None) for axis in _WHOLE]


def install_shims() -> None:
    """Puts in what t5x imports and does not use, or finds under a new name.

    jestimator of the package index looks for PartitionSpec where JAX had it until 2024. airio is on no package index;
    t5x asks of a dataset whether it is one of airio's, and no dataset here is.
    """
    import jax  # noqa: PLC0415
    from jax.experimental import pjit  # noqa: PLC0415

    if not hasattr(pjit, "PartitionSpec"):
        vars(pjit)["PartitionSpec"] = jax.sharding.PartitionSpec
    if importlib.util.find_spec("airio") is None:
        core = types.ModuleType("airio.core")
        for name in ("Task", "Mixture", "DatasetProviderBase", "AirIODatasetIterator"):
            setattr(core, name, type(name, (), {}))
        package = types.ModuleType("airio")
        vars(package)["core"], package.__path__ = core, []
        sys.modules |= {"airio": package, "airio.core": core}


def part_stages() -> None:
    """Makes t5x begin a stage with its own data.

    Where a run saves the state of its data, t5x also takes that of the checkpoint it begins with, whatever
    `restore_dataset` says. That is another stage's: it fails, or begins as many examples into its own data as the other
    stage was into its.
    """
    from t5x import checkpoints  # noqa: PLC0415  # ty: ignore[import-not-found] - on no package index

    manager: Any = checkpoints.OrbaxCheckpointManagerInterface
    whole = manager.restore

    @functools.wraps(whole)
    def restore(self, step=None, path=None, **options):
        saved = self._should_write_dataset_ckpt
        foreign = path is not None and os.path.dirname(os.fspath(path).rstrip("/")) != os.fspath(self.directory)
        self._should_write_dataset_ckpt = saved and not foreign
        try:
            return whole(self, step=step, path=path, **options)
        finally:
            self._should_write_dataset_ckpt = saved

    manager.restore = restore


def launch(script: str, arguments: Sequence[str]) -> None:
    """Runs t5x's program as if it had been started itself, which is how its gin files find it."""
    check_installed()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    install_shims()
    part_stages()
    sys.argv = [f"t5x.{script}", *arguments]
    runpy.run_module(f"t5x.{script}", run_name="__main__", alter_sys=True)


def check_installed() -> None:
    """Raises ConfigError, of one line, for what is not installed."""
    missing = [name for name in NEEDS if importlib.util.find_spec(name) is None]
    if "t5x" in missing:
        raise ConfigError(f"t5x is not installed. It is on no package index: its commit {TESTED} is tested, {WHERE}")
    if missing:
        raise ConfigError(f"t5x needs {', '.join(missing)}: pip install 'xling_jax[t5x]'. {WHERE}")


@dataclasses.dataclass(frozen=True)
class Leg:
    """A stage of a sequence, as it is asked for. `given` goes to t5x."""

    number: int
    phase: str
    steps: int = 0
    fresh: bool = False
    given: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Returns the name of its folder."""
        return f"{self.number}_{self.phase}"

    @property
    def trains(self) -> bool:
        """Whether it leaves a checkpoint."""
        return PHASES[self.phase] == "train"


@dataclasses.dataclass(frozen=True)
class Plan:
    """Stages one after the other."""

    workdir: str
    initial: str
    legs: tuple[Leg, ...]


def read_sequence(arguments: Sequence[str]) -> Plan:
    """Returns the sequence that a command line asks for. Raises ConfigError for one that cannot be run."""
    groups: list[list[str]] = [[]]
    for word in arguments:
        groups += [[]] if word.startswith("--stage=") else []
        groups[-1].append(word)
    own, shared = _take(groups[0], "workdir", "initial", "fresh_optimizer", "steps")
    legs = []
    for number, (head, *rest) in enumerate(groups[1:]):
        phase = head.removeprefix("--stage=")
        choose("phase", phase, PHASES, "Phases are files of gin/runs.", f"'{head}'")
        flags, given = _take(rest, "fresh_optimizer", "steps")
        flags = {name: own[name] for name in ("fresh_optimizer", "steps") if name in own} | flags
        leg = Leg(number, phase, _number(flags.get("steps", "0"), head), "fresh_optimizer" in flags, (*shared, *given))
        if leg.trains and not leg.steps:
            raise ConfigError(f"Stage {leg.name} trains no steps.\nAllowed: --steps=N behind '{head}', or before all.")
        legs.append(leg)
    if not own.get("workdir") or not legs:
        raise ConfigError(
            "A sequence needs --workdir=FOLDER and stages.\n"
            f"Allowed: --stage=PHASE, of {' '.join(PHASES)}. `python -m xling_jax.t5x_bridge` says more."
        )
    if not own.get("initial") and not legs[0].trains:
        raise ConfigError(f"Stage {legs[0].name} has no checkpoint.\nAllowed: --initial=CHECKPOINT; or train first.")
    return Plan(_absolute(own["workdir"]), _absolute(own.get("initial", "")), tuple(legs))


def _absolute(path: str) -> str:
    """Returns a path as Orbax takes it; an address of a bucket, and nothing, as they are."""
    return path if "://" in path or not path else os.path.abspath(path)


def _take(words: Sequence[str], *names: str) -> tuple[dict[str, str], list[str]]:
    """Returns the values of our own flags, and the words that are t5x's. Raises ConfigError for words of neither."""
    ours, theirs = {}, []
    for word in words:
        name, _, text = word.removeprefix("--").partition("=")
        if word.startswith("--") and name in names:
            ours[name] = text
        elif word.startswith(("--gin_", "--gin.")):
            theirs.append(word)
        else:
            raise unknown("flag", word, [f"--{each}" for each in (*names, "stage", "gin_file", "gin.NAME")], WHERE)
    return ours, theirs


def _number(text: str, inside: str) -> int:
    if not text.isdigit():
        raise ConfigError(f"--steps={text} behind '{inside}'.\nAllowed: a number of steps.")
    return int(text)


def last_checkpoint(folder: Any) -> tuple[str, int] | None:
    """Returns (path, step) of the newest whole checkpoint below a folder, and None if there is none."""
    found = [path for path in folder.iterdir() if _step(path.name) is not None] if folder.exists() else []
    newest = max(found, key=lambda path: _step(path.name) or 0, default=None)
    return (str(newest), _step(newest.name) or 0) if newest is not None else None


def _step(name: str) -> int | None:
    """Returns the step of a checkpoint's name; a draft has more behind the number."""
    match = re.fullmatch(r"checkpoint_(\d+)", name.rstrip("/").rpartition("/")[2])
    return int(match[1]) if match else None


def run_sequence(sequence: Plan) -> None:
    """Runs what is not done yet. Raises XlingError, with t5x's exit code, for a stage that fails."""
    from etils import epath  # noqa: PLC0415 - a work folder may be in a bucket

    check_installed()
    start, base = sequence.initial, 0
    if start:
        step = _step(start)
        if step is None:
            raise ConfigError(f"--initial={start} is no checkpoint of t5x.\nAllowed: a folder checkpoint_<step>.")
        base = step
    for leg in sequence.legs:
        out = epath.Path(sequence.workdir) / leg.name
        if _is_done(leg, out, start, base):
            print(f"{leg.name}: done", flush=True)
        else:
            print(f"{leg.name}: {PHASES[leg.phase]} from {start or 'nothing'}", flush=True)
            _run(leg, [*leg.given, *_files(leg), *_bindings(leg, out, start, base)])
            (out / "DONE").write_text(json.dumps(_mark(leg, start)) + "\n")
        if leg.trains:
            newest = last_checkpoint(out)
            assert newest is not None and newest[1] == base + leg.steps, f"{out} ends in {newest}"
            start, base = newest


def _mark(leg: Leg, start: str) -> dict[str, Any]:
    return {"from": start, "steps": leg.steps, "fresh_optimizer": leg.fresh, "given": leg.given}


def _is_done(leg: Leg, out: Any, start: str, base: int) -> bool:
    """Whether a stage was run to its end as it is asked for now. Raises ConfigError if it was as another one."""
    done = out / "DONE"
    if not done.exists():
        return False
    found, wanted = json.loads(done.read_text()), json.loads(json.dumps(_mark(leg, start)))
    if found != wanted:
        differing = next(name for name in wanted if found.get(name) != wanted[name])
        raise ConfigError(
            f"{out} was done with {differing} {found.get(differing)}, and is asked for with {wanted[differing]}.\n"
            "Allowed: the same again. Name another --workdir, or delete it and the stages behind it."
        )
    return True


def _files(leg: Leg) -> list[str]:
    """Returns the gin files of a stage, which come behind that of the model."""
    names = [leg.phase, *(["fresh_optimizer"] if leg.fresh and leg.trains else [])]
    return [f"--gin_file=gin/runs/{name}.gin" for name in names]


def _bindings(leg: Leg, out: Any, start: str, base: int) -> list[str]:
    if not leg.trains:
        return [f"--gin.CHECKPOINT_PATH='{start}'", f"--gin.OUTPUT_DIR='{out}'"]
    names = {"MODEL_DIR": f"'{out}'", "INITIAL_CHECKPOINT_PATH": f"'{start}'" if start else "[]"}
    names |= {"TRAIN_STEPS": str(base + leg.steps)} | ({"INITIAL_STEP": str(base)} if leg.fresh else {})
    return [f"--gin.{name}={text}" for name, text in names.items()]


def _run(leg: Leg, arguments: list[str]) -> None:
    program = [sys.executable, "-m", "xling_jax.t5x_bridge", PHASES[leg.phase]]
    done = subprocess.run([*program, *arguments], check=False)
    if done.returncode:
        error = XlingError(
            f"Stage {leg.name} ended with exit code {done.returncode}; what t5x said is above.\n"
            "The same command goes on from its last checkpoint."
        )
        error.exit_code = done.returncode if done.returncode > 0 else 128 - done.returncode
        raise error


def main(arguments: list[str]) -> NoReturn:
    """Runs a verb and leaves with its exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        sys.exit(EXIT_DONE)
    verb, *rest = arguments
    try:
        choose("verb", verb, dict.fromkeys((*SCRIPTS, "sequence")), "`python -m xling_jax.t5x_bridge` lists them.")
        if verb == "sequence":
            run_sequence(read_sequence(rest))
        else:
            launch(verb, rest)
    except XlingError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    sys.exit(EXIT_DONE)


if __name__ == "__main__":
    main(sys.argv[1:])
