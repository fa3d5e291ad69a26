"""Brings a run to its end on slices that are taken away: makes them, starts, looks, starts again, and deletes them.

They are deleted whatever happens: at the end, at a failure of the run, at a limit, and if this program is asked to
stop. Only `kill -9` and the end of this machine leave them; then the same command goes on with what it finds.
"""

import dataclasses
import time
from collections.abc import Callable

from xling_jax.errors import EXIT_DONE, EXIT_INTERRUPTED
from xling_jax.launch.budget import Budget
from xling_jax.launch.gcloud import CloudError, Say, Stopped
from xling_jax.launch.job import Hosts, HostState, verdict
from xling_jax.launch.machine import READY, Machine

SHORT = 60.0  # seconds; a run that is interrupted sooner waits before the next try
TROUBLES = 20  # failures in a row on a machine that is ready, before it is given up


@dataclasses.dataclass
class Babysitter:
    """Looks after one run. `tries` is how often it is begun at most; with `keep`, the slices stay in the end."""

    machine: Machine
    hosts: Hosts
    budget: Budget
    say: Say
    tries: int = 100
    keep: bool = False
    last_words: Callable[[], object] = lambda: None

    def __call__(self) -> int:
        """Returns the run's exit code when the slices are deleted; raises what ended the watch before."""
        self._check_ours()
        self.machine.look_hook = self.budget.heard
        try:
            code = self._to_the_end()
        except BaseException as error:
            self._save(error)
            self._leave()
            raise
        self._leave()
        if code == EXIT_DONE:
            self.budget.done()
        return code

    def _check_ours(self) -> None:
        """Raises CloudError, and changes nothing, where something else has this name."""
        for trouble in range(1, TROUBLES + 1):
            seen = self.machine.look()
            self.machine.check_name(seen)
            if seen.state != READY:
                return
            try:
                running = {host.id for host in self.hosts.look() if host.state == "running"}
                break
            except CloudError as error:
                if error.kind == "fatal" or trouble == TROUBLES:
                    raise self.machine.left(f"it was there before, and what it does is not known. {error}") from None
                self.say(f"{error} Looking again.")
                self.machine.pause()
        if running - {self.hosts.job.id}:
            name = self.machine.request.name
            raise CloudError(f"Another command runs on {name}. {self.machine.other_name}", "fatal")

    def _to_the_end(self) -> int:
        self.hosts.send()
        code = EXIT_INTERRUPTED
        for number in range(1, self.tries + 1):
            self.budget.check()
            self.machine.bring_up()
            began = time.monotonic()
            ended = self._once()
            if ended is None:
                self.say(f"the slices are gone; making them again ({number} of {self.tries}, {self.budget.spent})")
                continue
            code = ended
            if code != EXIT_INTERRUPTED:
                break
            self.say(f"interrupted; starting again ({number} of {self.tries}, {self.budget.spent})")
            if time.monotonic() - began < SHORT:
                self.machine.pause()
        if code:
            self.last_words()
            self.say(f"the logs of all hosts: {self.hosts.kept_logs}")
        self.say(f"ended with exit code {code}; {self.budget.spent}")
        return code

    def _once(self) -> int | None:
        """Returns the exit code of one beginning; None if the slices are taken away meanwhile."""
        troubles, told, begun = 0, "", False
        while True:
            self.budget.check()
            if self.machine.look().state != READY:
                return None
            try:
                if not begun:
                    self._begin()
                    begun = True
                hosts = self.hosts.look()
            except CloudError as error:
                troubles += 1
                if error.kind == "fatal" or troubles >= TROUBLES:
                    raise
                self.say(f"{error} Looking again.")
                self.machine.pause()
                continue
            troubles = 0
            code = verdict(hosts)
            if code is not None:
                return code
            told = self._tell(hosts, told)
            self.machine.pause()

    def _begin(self) -> None:
        """Starts the command, unless a babysitter before this one has done so."""
        states = [host.state for host in self.hosts.look()]
        if "running" in states and "absent" not in states:
            self.say("the command runs already; watching it")
            return
        self.say("installing on all hosts (a few minutes where nothing is there yet)")
        self.hosts.install()
        self.hosts.start()
        self.say(f"started on all hosts: {' '.join(self.hosts.job.words)}")

    def _tell(self, hosts: list[HostState], told: str) -> str:
        """Says the last line of the log if it is another one, or how many hosts run."""
        running = [host for host in hosts if host.state == "running"]
        text = running[0].last or "no output yet"
        if len(running) < len(hosts):
            text = f"{len(running)} of {len(hosts)} hosts still run: {text}"
        if text != told:
            self.say(text)
        return text

    def _save(self, error: BaseException) -> None:
        """Lets the command save, where the watch ends before it does."""
        try:
            self.say(f"ending: {str(error) or type(error).__name__}")
            if self.machine.look().state == READY:
                self.say("asking the command to save and end")
                self.hosts.stop()
        except (CloudError, Stopped) as trouble:
            self.say(f"it could not save: {trouble}")

    def _leave(self) -> None:
        """Deletes the slices; CloudError says if that did not go, and what it costs."""
        request = self.machine.request
        if self.keep:
            self.say(f"--keep: {request.name} stays and costs up to ${request.dollars_an_hour:,.2f} an hour")
            return
        try:
            self.machine.delete()
        except Stopped as error:
            raise self.machine.left(f"{error}") from None
