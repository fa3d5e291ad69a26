"""The slices of a request in the cloud: looked at, brought up, deleted. Whatever is found there is gone on from.

There are never two of a name: nothing is made before a look has found nothing, and what is lost is deleted before
another one is asked for.
"""

import dataclasses
import json
import time
from collections.abc import Callable

from xling_jax.launch import commands
from xling_jax.launch.commands import Command
from xling_jax.launch.gcloud import CloudError, Gcloud, Say, lasted, meaning
from xling_jax.launch.request import Request

ABSENT, COMING, READY, LOST, LEAVING = "absent", "coming", "ready", "lost", "leaving"
# The cloud's words: those of queued resources, then those of slices.
STATES = {
    "ACCEPTED": COMING,
    "WAITING_FOR_RESOURCES": COMING,
    "PROVISIONING": COMING,
    "ACTIVE": READY,
    "FAILED": LOST,
    "SUSPENDING": LOST,
    "SUSPENDED": LOST,
    "CREATING": COMING,
    "STARTING": COMING,
    "RESTARTING": COMING,
    "REPAIRING": COMING,
    "READY": READY,
    "PREEMPTED": LOST,
    "TERMINATED": LOST,
    "STOPPING": LOST,
    "STOPPED": LOST,
    "HIDING": LOST,
    "HIDDEN": LOST,
    "UNHIDING": COMING,
    "DELETING": LEAVING,
}
WORST = (LOST, LEAVING, ABSENT, COMING, READY)
FAILURES = 60  # answers in a row that say nothing, before it is given up
REFUSALS = 5  # requests in a row that the cloud fails for a reason that nobody knows


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a look found: one of the states above, the cloud's word for it and its reason, and which slice it is."""

    state: str
    word: str = ""
    why: str = ""
    kind: str = ""

    @property
    def costs(self) -> bool:
        """Whether it is paid for: what the cloud has given, until it is gone."""
        return self.state == READY or self.word in ("RESTARTING", "REPAIRING", "STARTING")


@dataclasses.dataclass
class Machine:
    """The slices of a request. `poll` is the seconds between looks; `look_hook` hears of each."""

    request: Request
    cloud: Gcloud
    say: Say
    poll: float = 30.0
    look_hook: Callable[[Seen], None] = lambda seen: None

    def look(self) -> Seen:
        """Returns what is there; goes on asking for a while if there is no answer."""
        for failure in range(1, FAILURES + 1):
            try:
                seen = self._seen()
            except CloudError as error:
                if error.kind == "fatal" or failure == FAILURES:
                    raise
                self.say(f"{error} Asking again.")
                self.pause()
            else:
                self.look_hook(seen)
                return seen
        raise AssertionError("the last failure is raised")

    def _seen(self) -> Seen:
        if not self.request.queued:
            return self._asked(commands.describe_node(self.request, self.request.name))
        whole = self._asked(commands.describe(self.request))
        if whole.state != READY:
            return whole
        nodes = [self._asked(commands.describe_node(self.request, node)) for node in self.request.nodes]
        worst = min(nodes, key=lambda node: WORST.index(node.state))
        return Seen(LOST, worst.word or "gone") if worst.state in (LOST, LEAVING, ABSENT) else worst

    def _asked(self, command: Command) -> Seen:
        try:
            text = self.cloud(command, f"look at {self.request.name}")
        except CloudError as error:
            if error.kind != "absent":
                raise
            return Seen(ABSENT)
        return _read(text)

    def bring_up(self) -> None:
        """Returns when the slices are ready; asks for them where there are none, after what is lost is deleted."""
        began, told, refused = time.monotonic(), "", 0
        while (seen := self.look()).state != READY:
            if seen.state == LOST:
                refused += seen.word == "FAILED"
                self._refused(seen, refused)
                self.delete()
            if seen.state in (LOST, ABSENT):
                refused += self._ask(last=refused >= REFUSALS)
                continue
            if seen.word != told:
                told, began = seen.word, time.monotonic()
            self.say(f"{seen.word}, {lasted(time.monotonic() - began)}")
            self.pause()
        self.say("ready")

    def _refused(self, seen: Seen, times: int) -> None:
        """Says why there is nothing; raises CloudError for what asking again does not change."""
        self.say(f"{seen.word}{': ' if seen.why else ''}{seen.why}")
        row = meaning(seen.why)
        if seen.word == "FAILED" and (row.kind == "fatal" or (row.kind != "room" and times >= REFUSALS)):
            raise CloudError(f"Could not make {self.request.name}: {seen.why}. {row.advice}", "fatal")

    @property
    def other_name(self) -> str:
        """Returns what to do about something else of this name."""
        return f"Choose another name, or delete it: scripts/tpu.sh delete {self.request.name}"

    def check_name(self, seen: Seen) -> None:
        """Raises CloudError where a slice of another kind, or one that was made without the queue, has this name."""
        wanted = self.request.slice.sold
        if seen.kind and seen.kind != wanted:
            raise CloudError(f"{self.request.name} is a {seen.kind} already, no {wanted}. {self.other_name}", "fatal")
        if self.request.queued and seen.state == ABSENT:
            for node in self.request.nodes:
                if self._asked(commands.describe_node(self.request, node)).state != ABSENT:
                    raise CloudError(f"{node} is there already, made without the queue. {self.other_name}", "fatal")

    def _ask(self, last: bool) -> bool:
        """Asks for slices; whether it was refused because something has the name that a look does not find."""
        self.say(f"asking for {self.request.about}")
        try:
            self.cloud(commands.create(self.request), f"make {self.request.name}")
        except CloudError as error:
            if error.kind == "fatal" or (error.kind == "there" and last):
                raise
            self.say(str(error))  # it may have been made all the same: the next look tells
            self.pause()
            return error.kind == "there"
        return False

    def delete(self) -> None:
        """Returns when nothing is there any more. Raises CloudError, which says what that costs."""
        said = ""
        for failure in range(FAILURES):
            try:
                self.say(f"deleting {self.request.name}")
                self.cloud(commands.delete(self.request), f"delete {self.request.name}")
            except CloudError as error:
                said = str(error)
                if error.kind == "fatal":
                    break
                if error.kind != "absent":
                    self.say(said)
            if self._is_gone():
                self.say(f"{self.request.name} is deleted")
                return
            self.pause(min(failure + 1, 4))
        raise self.left(said)

    def _is_gone(self) -> bool:
        try:
            return self._seen().state == ABSENT
        except CloudError as error:
            self.say(str(error))
            return False

    def left(self, why: str) -> CloudError:
        """Returns the error that says that it is still there."""
        cost = f"${self.request.dollars_an_hour:,.2f}"
        how = f"Delete it: scripts/tpu.sh delete {self.request.name} --zone={self.request.zone}"
        return CloudError(f"{self.request.name} was NOT deleted and costs up to {cost} an hour: {why} {how}", "fatal")

    def pause(self, times: float = 1) -> None:
        """Waits between looks."""
        time.sleep(self.poll * times)


def _read(text: str) -> Seen:
    """Returns the state that a description in JSON tells."""
    try:
        said = json.loads(text)
        state = said["state"]
        word = state if isinstance(state, str) else state["state"]
    except (ValueError, KeyError, TypeError):
        raise CloudError(f"gcloud describes no state: '{' '.join(text.split())[:80]}'.", "again") from None
    why = said.get("healthDescription", "") if isinstance(state, str) else _reason(state)
    return Seen(STATES.get(word, COMING), word, " ".join(str(why).split()).rstrip("."), _kind(said))


def _kind(said: dict) -> str:
    """Returns the kind of slice that a description names."""
    specs = said.get("tpu", {}).get("nodeSpec", [])
    return said.get("acceleratorType", "") or (specs[0].get("node", {}).get("acceleratorType", "") if specs else "")


def _reason(state: dict) -> str:
    """Returns why a queued resource is as it is, where that is said."""
    failed = state.get("failedData", {}).get("error", {})
    return failed.get("message", "") or state.get("stateInitiator", "")
