"""Fine-tuning, masked-LM and zero-shot inference, real tokens a second: this program against transformers' Trainer.

    XLING_DATA=... python benchmarks/finetuning.py FOLDER --make        # texts to ids, once; 5 minutes, 20 MB
    python benchmarks/finetuning.py FOLDER                              # measures; needs no data, TensorFlow, network

A real token is one of a text, no padding. Jobs are rows of JOBS: real texts, cut to the same length, with the same ids
for all. Models have random weights and one shape; all of it is trained, by AdamW at --batch examples a step, dropout
0.1. An arm is a process with the whole machine, for even an idle one costs the other a sixth. The arms of a pair take
turns, --rounds times; each warms up, and is measured --turns times. Arms:

    packed       this program: several examples in a row, as many in a batch on average
    bucketed     this program: a batch is padded to one of a few lengths
    grouped      transformers at its best: batches of like lengths, padded to the longest; fused AdamW; sdpa; no dropout
                 of attention's weights, which this program does not have either
    tuned        the same, with glibc told to use huge pages, as `xling` tells it; for CPUs
    compiled     the same as grouped, with torch.compile; for accelerators
    default      transformers as it comes: random batches, padded to the longest; AdamW; dropout of attention, too

In inference arms answer all texts, shortest first: ours as `xling eval` does it, the peer's in inference_mode, in
batches of --eval_batch padded to the longest; `default` in the order of the files.

The peer's environment is FOLDER/peer, made with pip the first time, unless --peer names a Python that has torch,
transformers and accelerate. Writes finetuning.json (or --out), a pair at a time: what is there from other pairs stays.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv

from finetuning_arms.inputs import make
from finetuning_arms.shared import BENCHMARKS, JOBS, PEERS, parser
from subjects import conditions

from xling_jax.cli import TUNABLES

PACKAGES = ("torch", "transformers", "accelerate")


def peer_of(asked: argparse.Namespace) -> str:
    """Returns the Python of the peer's environment, which is made the first time."""
    if asked.peer:
        return asked.peer
    python = asked.folder / "peer" / "bin" / "python"
    if not python.exists():
        venv.create(asked.folder / "peer", with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return str(python)


class Arm:
    """A process that does a turn when it is told to, and says what it did."""

    def __init__(self, name: str, job: str, given: list[str], peer: str):
        """Starts it; it has compiled, and knows its peak, when this returns."""
        python, script = (peer, "trainer_arm.py") if name in PEERS else (sys.executable, "xling_jax_arm.py")
        tuned = dict([TUNABLES]) if name not in PEERS or name == "tuned" else {}
        command = [python, str(BENCHMARKS / "finetuning_arms" / script), *given, f"--arm={name}", f"--job={job}"]
        self.name = name
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, env=os.environ | tuned, **pipes)
        self.about = self._read()

    def _read(self) -> dict:
        assert self._process.stdout
        line = self._process.stdout.readline()
        try:
            return json.loads(line)
        except ValueError:
            raise SystemExit(f"arm '{self.name}' ended; its message is above") from None

    def turn(self) -> dict:
        """Returns seconds, processor seconds, real tokens, places, FLOPs and memory of a turn."""
        assert self._process.stdin
        print("turn", file=self._process.stdin, flush=True)
        return self._read()

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def spread(values: list[float]) -> dict[str, float]:
    """Returns the median and the extremes."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(job: str, pair: str, given: list[str], asked: argparse.Namespace, peer: str) -> dict:
    """Returns the two arms of a pair, and the ratio of their real tokens a second in each round."""
    turns: dict[str, list[list[dict]]] = {name: [] for name in pair.split(":")}
    abouts: dict[str, dict] = {}
    for _ in range(asked.rounds):
        for name, rounds in turns.items():
            arm = Arm(name, job, given, peer)
            arm.turn()  # warms up
            rounds.append([arm.turn() for _ in range(asked.turns)])
            abouts[name] = arm.about
            arm.close()
            print(job, name, *(round(rate(turn), 1) for turn in rounds[-1]), file=sys.stderr)
    medians = ([statistics.median(map(rate, each)) for each in rounds] for rounds in turns.values())
    ratios = [ours / theirs for ours, theirs in zip(*medians, strict=True)]
    all_turns = {name: [turn for each in rounds for turn in each] for name, rounds in turns.items()}
    arms = {name: about | summary(all_turns[name], about) for name, about in abouts.items()}
    return {"ratio": spread(ratios), "arms": arms}


def rate(turn: dict) -> float:
    """Returns the real tokens a second of a turn."""
    return turn["tokens"] / turn["seconds"]


def summary(turns: list[dict], about: dict) -> dict:
    """Returns medians and extremes of turns, and the share of the peak that real tokens take."""
    flops = statistics.median(turn["flops"] / turn["seconds"] for turn in turns)
    return {
        "real_tokens_per_second": spread(list(map(rate, turns))),
        "real_tokens_per_cpu_second": statistics.median(turn["tokens"] / turn["cpu"] for turn in turns),
        "padding": 1 - sum(turn["tokens"] for turn in turns) / sum(turn["places"] for turn in turns),
        "share_of_matmul_peak": flops / about["matmul_peak_flops"],
        "peak_memory_bytes": turns[-1]["memory"],
    }


def main() -> None:
    """Makes inputs, or measures what is asked for and writes it down pair by pair."""
    asked = parser(__doc__).parse_args()
    if asked.make:
        make(asked.folder, JOBS)
        return
    given, peer = [word for word in sys.argv[1:] if not word.startswith("--out")], peer_of(asked)
    record = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.exists() else {}
    for job in asked.jobs.split(","):
        for pair in asked.pairs.split(","):
            found = compare(job, pair, given, asked, peer)
            said = {
                name: getattr(asked, name)
                for name in ("model", "dtype", "batch", "eval_batch", "steps", "turns", "rounds")
            }
            made = {"job": job, "pair": pair} | said | {"conditions": conditions("jax", "flax", "optax")} | found
            record[f"{asked.model} {asked.dtype} {job} {pair}"] = made
            asked.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            print(f"{job:8} {pair:18} {found['ratio']['median']:.2f} times the peer's real tokens a second")


if __name__ == "__main__":
    main()
