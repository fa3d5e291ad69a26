"""Runs gcloud: shows that it is still at it, gives up at a limit, says in one line what went wrong and what helps."""

import dataclasses
import os
import re
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence

from xling_jax.errors import XlingError
from xling_jax.launch.commands import Command

Say = Callable[[str], None]
PROGRESS = 30.0  # seconds between signs of life
LIMITS = {"create": 1800.0, "delete": 1800.0, "install": 3600.0, "stop": 900.0, "follow": 1e9, "sync": 86400.0}
LIMIT = 300.0  # of all other kinds
INSTALL = "https://cloud.google.com/sdk/docs/install"


@dataclasses.dataclass(frozen=True)
class Saying:
    """What gcloud says and what that means. The first row that fits counts.

    Kinds: "absent" (there is no such thing), "there" (there is one already), "room" (ask later), "again" (a fault that
    passes), "fatal" (asking again changes nothing).
    """

    pattern: str
    kind: str
    advice: str


SAYINGS = (
    Saying(
        "no more capacity|RESOURCE_POOL_EXHAUSTED|Insufficient (reserved )?capacity|stockout",
        "room",
        "The zone has no such slice free: it is asked for again; another --zone, a smaller --type or --spot may be "
        "there sooner.",
    ),
    Saying(
        "[Qq]uota",
        "fatal",
        "The project may not have so many such chips there: look at the TPU quotas of the project, and at "
        "`scripts/tpu.sh list` for what holds them; spot and on demand are counted apart.",
    ),
    Saying(
        "not currently have an active account|[Rr]eauthenticat|refresh.*credentials|invalid_grant",
        "fatal",
        "Run `gcloud auth login`.",
    ),
    Saying(
        "SERVICE_DISABLED|API has not been used|API \\[tpu.*not enabled",
        "fatal",
        "Run `gcloud services enable tpu.googleapis.com`, and wait a minute.",
    ),
    Saying("property \\[project\\]|project.*not (currently )?set", "fatal", "Say --project=PROJECT."),
    Saying(
        "bucket does not exist|bucket.*404|404.*bucket",
        "fatal",
        "Run `gcloud storage buckets create gs://NAME --location=REGION`, in the region of the zone.",
    ),
    Saying(
        "[Aa]ccelerator.?[Tt]ype|reserved.*not found|[Rr]untime.?[Vv]ersion",
        "fatal",
        "The zone does not have that: `gcloud compute tpus accelerator-types list --zone=ZONE` and `... versions list "
        "--zone=ZONE` say what it has.",
    ),
    Saying(
        "not have permission to access zone|[Ll]ocation.*(not found|may not exist)|[Ii]nvalid (zone|location)",
        "fatal",
        "There is no such zone, or not for this project: `gcloud compute tpus locations list` names them.",
    ),
    Saying(
        "PERMISSION_DENIED|does not have permission|HTTPError 403|Permission '",
        "fatal",
        "The account needs the roles TPU Admin and Storage Object Admin, and Service Account User of the service "
        "account of the slice.",
    ),
    Saying("Permission denied \\(publickey\\)", "again", "Run `ssh-add ~/.ssh/google_compute_engine`."),
    Saying("ALREADY_EXISTS|already exists", "there", "Choose another name, or delete it."),
    Saying("NOT_FOUND|was not found|matched no objects|404", "absent", "It is not there."),
    Saying(
        "UNAVAILABLE|INTERNAL|DEADLINE_EXCEEDED|ABORTED|FAILED_PRECONDITION|HTTPError (429|5..)|Connection|connection|"
        "timed out|[Uu]nable to find the server|Network is unreachable|\\[255\\]|exited with return code",
        "again",
        "That passes as a rule.",
    ),
)


class CloudError(XlingError):
    """gcloud did not do what it was asked for."""

    exit_code = 1

    def __init__(self, text: str, kind: str):
        """Takes the kind of a `Saying`; "" for what no row fits."""
        super().__init__(text)
        self.kind = kind

    @property
    def passes(self) -> bool:
        """Whether the same command may succeed later; so may what nobody knows."""
        return self.kind in ("again", "room", "")


class Stopped(XlingError):
    """The user, or the system, asked this program to stop."""

    exit_code = 75


def meaning(said: str) -> Saying:
    """Returns what a message means. Names that a user gave do not count."""
    plain = re.sub(r"'?projects/\S*", "", said)
    return next((row for row in SAYINGS if re.search(row.pattern, plain)), Saying("", "", "These are its words."))


def last_words(errors: str, output: str = "") -> str:
    """Returns the line of gcloud's output that says what is wrong."""
    lines = [line.strip() for line in [*errors.splitlines(), *output.splitlines()] if line.strip()]
    told = [line for line in lines if line.startswith(("ERROR:", "error:"))]
    return re.sub(r"^ERROR: (\(gcloud[\w.-]*\) )?", "", told[0] if told else lines[-1] if lines else "nothing")


class Gcloud:
    """Runs commands. With `shown`, prints each before."""

    def __init__(self, say: Say, progress: float = PROGRESS, shown: bool = False):
        self.say, self.progress, self.shown = say, progress, shown

    def __call__(self, command: Command, doing: str) -> str:
        """Returns what a command prints; CloudError if it fails."""
        return self.side_by_side([command], doing)[0]

    def side_by_side(self, commands: Sequence[Command], doing: str) -> list[str]:
        """Returns what each of some commands prints, which run at the same time; CloudError for the first failure."""
        processes = [self._start(command) for command in commands]
        try:
            answers = self._wait(processes, doing, LIMITS.get(commands[0].kind, LIMIT))
        except BaseException:
            if commands[0].kind == "create":  # it may have been heard: what it made is to be seen when it is looked for
                self._let_finish(processes)
            for process in processes:
                process.kill()
                process.wait()
            raise
        for process, (output, errors) in zip(processes, answers, strict=True):
            if process.returncode:
                words = last_words(errors, output)
                row = meaning(words if not errors else f"{words}\n{errors}")
                raise CloudError(f"Could not {doing}: {words.rstrip('.')}. {row.advice}", row.kind)
        return [output for output, _ in answers]

    def passed_on(self, command: Command) -> int:
        """Runs a command whose output is for the user, as it comes; returns its exit code."""
        self._show(command)
        try:
            return subprocess.run(command.argv, check=False, stdin=subprocess.DEVNULL, env=_environment()).returncode
        except FileNotFoundError:
            raise _no_gcloud() from None

    def _start(self, command: Command) -> subprocess.Popen[str]:
        self._show(command)
        try:
            return subprocess.Popen(
                command.argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for this program, which decides what is ended
            )
        except FileNotFoundError:
            raise _no_gcloud() from None

    def _wait(self, processes: Sequence[subprocess.Popen[str]], doing: str, limit: float) -> list[tuple[str, str]]:
        began, answers = time.monotonic(), []
        for process in processes:
            while True:
                try:
                    answers.append(process.communicate(timeout=self.progress))
                    break
                except subprocess.TimeoutExpired:
                    passed = time.monotonic() - began
                    if passed > limit:
                        raise CloudError(f"Could not {doing}: no answer in {passed:.0f} s.", "again") from None
                    self.say(f"still at it ({doing}), {lasted(passed)}")
        return answers

    def _let_finish(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self.say("waiting for the request that is under way")
        for process in processes:
            try:
                process.communicate(timeout=60)
            except (subprocess.TimeoutExpired, Stopped):
                return

    def _show(self, command: Command) -> None:
        if self.shown:
            self.say(shlex.join(command.argv))


def _environment() -> dict[str, str]:
    return os.environ | {"CLOUDSDK_CORE_DISABLE_PROMPTS": "1"}


def _no_gcloud() -> CloudError:
    return CloudError(f"There is no gcloud on PATH. Install the Google Cloud CLI, {INSTALL}.", "fatal")


def lasted(seconds: float) -> str:
    """Returns a time as people say it: 40 s, 12 min, 3.4 h."""
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.1f} h"
    )
