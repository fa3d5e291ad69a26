"""The command line of `scripts/tpu.sh`: verbs, their flags, and what is known of a name from earlier commands."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from xling_jax.errors import ConfigError
from xling_jax.launch.budget import known
from xling_jax.launch.request import Request, request

ABOUT = """scripts/tpu.sh VERB NAME [flags] [-- COMMAND ...]

Slices of TPUs by gcloud, each under a NAME that you choose. `babysit` does it all: makes the slice, installs, runs the
command on all hosts, starts it again where it is interrupted and on a new slice where the old one is taken away, and
deletes the slice in the end, at a limit, or when it is asked to stop. See docs/tpu.md.

  bash scripts/tpu.sh babysit first --zone=us-west4-a --type=v5e-16 --spot --bucket=gs://MINE/runs --max_dollars=50 \\
      -- xling run --config=configs/quickstart.py --workdir=gs://MINE/runs/first/work

With --dry_run, every verb prints the gcloud commands that it would run if all went well, and runs none."""

VERBS = {
    "babysit": "brings a run to its end over preemptions, and deletes the slice",
    "create": "makes a slice and waits until it is there; it costs money until `delete`",
    "run": "installs and starts a command on all hosts of a slice that is there; it lives on without this machine",
    "status": "says what is there, what it costs, and what each host does",
    "logs": "prints the log of the first host, or of all from the bucket where the slice is gone",
    "sync": "copies the work folder: `sync NAME down FOLDER` to this machine, `sync NAME up FOLDER` to the bucket",
    "stop": "lets the command save and end; the slice stays",
    "delete": "deletes the slice, whatever it does, and waits until it is gone",
    "list": "lists all slices and requests of a zone, those of others included",
}
MAKING = ("babysit", "create")
RUNNING = ("babysit", "run")
SHAPE = ("zone", "project", "type", "slices", "spot", "queued", "runtime", "create_flag", "price")


class Parser(argparse.ArgumentParser):
    """A parser whose errors are the house's, on a line."""

    def error(self, message: str) -> NoReturn:
        """Raises ConfigError."""
        raise ConfigError(f"{message}. `{self.prog} --help` lists what is allowed.")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Returns the flags, with `words` as the command; ConfigError for what is not allowed."""
    argv, words = (argv[: argv.index("--")], argv[argv.index("--") + 1 :]) if "--" in argv else (argv, [])
    values = _parser().parse_args(argv)
    values.words = list(words)
    if words and values.verb not in RUNNING:
        raise ConfigError(f"{values.verb} takes no command. Allowed: -- COMMAND with {' and '.join(RUNNING)}.")
    return values


def _parser() -> Parser:
    how = argparse.RawDescriptionHelpFormatter
    parser = Parser(
        "scripts/tpu.sh", description=ABOUT, formatter_class=how, allow_abbrev=False, usage=argparse.SUPPRESS
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, about in VERBS.items():
        one = verbs.add_parser(verb, help=about, description=about, allow_abbrev=False)
        if verb != "list":
            one.add_argument("name", help="of the slice and of its run")
        if verb == "sync":
            one.add_argument("way", choices=("up", "down"))
            one.add_argument("folder")
        _define(one, verb)
    return parser


def _define(parser: Parser, verb: str) -> None:
    add, flag = parser.add_argument, argparse.BooleanOptionalAction
    add("--zone", help="where, for example us-west4-a; known of a name once it was said")
    add("--project", help="whose; that of gcloud if not given")
    add("--dry_run", action="store_true", help="print the gcloud commands in place of running them")
    add("--poll", type=_positive(float), default=30.0, help="seconds between looks (30)")
    if verb not in ("sync", "list"):
        add("--slices", type=int, help="how many, joined by the network (1)")
    if verb in (*MAKING, "run"):
        add("--type", help="which slice, as xling_jax/tables/slices.py names them: v5e-16, v6e-8, v4-32")
        add("--spot", action=flag, help="cheaper, and may be taken away")
        add("--noqueued", dest="queued", action="store_false", default=None, help="now or not at all, by no queue")
        add("--runtime", help="software of the machines; that of the row of the slice if not given")
        add(
            "--create_flag",
            action="append",
            help="a further flag of gcloud's create, --create_flag=--network=mine; again",
        )
        add("--price", type=_positive(float), help="dollars of a chip-hour, where you pay others than the list says")
    if verb in (*RUNNING, "logs", "sync"):
        add("--bucket", help="gs://NAME or gs://NAME/FOLDER: code, logs and work folders lie below it, in NAME")
    if verb in RUNNING:
        add(
            "--fetch",
            action="append",
            default=[],
            help="gs://FOLDER=FOLDER to copy to each host, below the code; again",
        )
        add("--every", type=_positive(int), default=300, help="seconds between copies of a local work folder (300)")
    if verb == "babysit":
        add("--max_hours", type=_positive(float), default=0.0, help="delete when slices were there for so long in all")
        add("--max_dollars", type=_positive(float), default=0.0, help="delete when so much may have been spent in all")
        add("--tries", type=_positive(int), default=100, help="how often the command is begun at most (100)")
        add("--keep", action="store_true", help="do not delete in the end")
    if verb == "logs":
        add("--follow", action="store_true", help="go on printing")
        add("--lines", type=_positive(int), default=100, help="how many (100)")


def _positive(kind: type):
    def read(text: str):
        value = kind(text)
        if not 0 < value < float("inf"):
            raise ValueError
        return value

    read.__name__ = f"positive {kind.__name__}"
    return read


def remembered(values: argparse.Namespace) -> dict[str, Any]:
    """Returns what decides the slices: as said, and where nothing new is made also as said before."""
    said = {name: getattr(values, name, None) for name in SHAPE}
    before = {} if values.verb in MAKING else known(values.name)
    return {name: before.get(name) if value is None else value for name, value in said.items()}


def shape(said: dict[str, Any], name: str) -> Request:
    """Returns the request; ConfigError for what is missing."""
    for flag in ("zone", "type"):
        if not said[flag]:
            raise ConfigError(
                f"--{flag} is not given, and nothing is known of '{name}' here. Allowed: --{flag}=..., see docs/tpu.md."
            )
    queued = said["queued"] is not False
    more = {"spot": bool(said["spot"]), "project": said["project"] or "", "runtime": said["runtime"] or ""}
    flags = tuple(said["create_flag"] or ())
    many, price = said["slices"] if said["slices"] is not None else 1, said["price"] or 0.0
    return request(name, said["zone"], said["type"], slices=many, queued=queued, price=price, more=flags, **more)
