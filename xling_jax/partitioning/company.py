"""The hosts of a run as one of them sees them: where it waits, what it hears, when it ends.

A thread tells the others now and then what this host is at, and hears the same of them. So whoever waits can say who is
missing; an error of one host ends all; and a host that is gone is noticed while the main thread waits for a device.
"""

import collections
import contextlib
import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from xling_jax.errors import EXIT_INTERRUPTED, HostError, XlingError

BEAT = 1.0  # seconds between two signs of life
LOST = 60.0  # seconds without one after which a host is gone
SUSPECT = 8.0  # seconds without one after which it is gone, where an operation over devices has failed
GRACE = 5.0  # seconds that a host which has heard of a failure has to end by itself
FAREWELL = 10.0  # seconds that a host which has failed waits for the others to hear of it
AGAIN = "What was saved stays: run the same command on all hosts again."


def code_of(error: BaseException) -> int:
    """Returns the exit code of a process that an error ends."""
    match error:
        case XlingError():
            return error.exit_code
        case KeyboardInterrupt():
            return EXIT_INTERRUPTED
        case SystemExit(code=int(code)):
            return code
    return 1


class News:
    """What is known of another host: what it said it was at and since when, by its clock; when it was last heard."""

    def __init__(self):
        self.text, self.since = "", time.time()
        self.heard = self.changed = time.monotonic()
        self._beat = -1

    def hear(self, said: str) -> None:
        """Takes up a sign of life; the same one again is none."""
        beat, text, since = json.loads(said)
        if beat != self._beat:
            self._beat, self.heard = beat, time.monotonic()
        if (text, since) != (self.text, self.since):
            self.text, self.since, self.changed = text, since, time.monotonic()

    def __str__(self) -> str:
        if not self.text:
            return "it has said nothing yet"
        return f"it last said '{self.text}' {max(0.0, time.time() - self.since):.0f} s ago"


class Company:
    """All hosts, on one of them."""

    def __init__(self, store: Any, number: int, count: int, wait: float, end: Callable[[int], Any]):
        """Takes where they meet (see `store.py`).

        Args:
          store: what they tell each other.
          number: which host this is.
          count: how many there are.
          wait: seconds to wait for one that says nothing new.
          end: ends the process with an exit code.
        """
        self.number, self.count, self._store, self._wait, self._end = number, count, store, wait, end
        self._lost_after = min(LOST, max(wait, SUSPECT))
        self._news = {host: News() for host in range(count) if host != number}
        self._note = ("", time.time())
        self._rounds: collections.Counter[str] = collections.Counter()
        self._alone = False
        self._leaving: BaseException | None = None  # what this host is about to end with
        self._failure: HostError | None = None
        self._closed = threading.Event()
        self._stops = Stops(store, number, count)
        self._thread = threading.Thread(target=self._listen, daemon=True, name="hosts")

    def listen(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread."""
        self._closed.set()
        self._thread.join(GRACE)

    def note(self, text: str) -> None:
        """Remembers what this host is at."""
        if text != self._note[0]:
            self._note = (text, time.time())

    # Waiting: on the main thread.

    def meet(self, name: str) -> None:
        """Waits for all hosts. Raises HostError."""
        if self._alone:  # what one host does alone, the others do not wait for
            return
        place = self._place(name)
        self._store.tell(f"at/{place}/{self.number}", "")
        for host in self._news:
            self._hear(name, f"at/{place}", host, list(self._news))

    def first_does(self, name: str, make: Callable[[], Any]) -> Any:
        """Returns what host 0 makes, as JSON gives it back. Raises HostError."""
        if self._alone:
            return make()
        place = self._place(name)
        if self.number:
            return json.loads(self._hear(name, f"made/{place}", 0, [0]))
        self._alone = True
        try:
            made = json.dumps(make())
        finally:
            self._alone = False
        self._store.tell(f"made/{place}/0", made)
        return json.loads(made)

    def together(self, stop_asked: Callable[[], bool]) -> Callable[[], bool]:
        """Returns `stop_asked` of all hosts; see `hosts.together`."""
        self._stops.asked = stop_asked
        return lambda: self._stops.anywhere() if self._alone else self._stops.reached()

    def _place(self, name: str) -> str:
        """Returns a name of its own for each time that hosts meet under one."""
        self._rounds[name] += 1
        return f"{name.replace('/', ' ')}#{self._rounds[name]}"

    def _hear(self, name: str, folder: str, host: int, all_hosts: list[int]) -> str:
        """Returns what a host says in a folder, waiting for it. All hosts that should speak there are named if not."""
        began = time.monotonic()
        while True:
            said = self._store.hear(f"{folder}/{host}", BEAT / 2)
            if said is not None:
                return said
            if self._failure is not None:
                raise self._failure
            if time.monotonic() - max(began, self._news[host].changed) > self._wait:
                there = set(self._store.all(folder))
                raise HostError(self._missing([each for each in all_hosts if str(each) not in there], name))

    def _missing(self, hosts: list[int], name: str) -> str:
        said = "; ".join(f"host {host} of {self.count} is missing at '{name}'; {self._news[host]}" for host in hosts)
        return f"{said[0].upper()}{said[1:]}.\n{AGAIN}\n--host_timeout says how long hosts wait for each other."

    # Listening: on the thread.

    def _listen(self) -> None:
        beat, failed = 0, 0.0
        while not self._closed.wait(BEAT / 4 if self._stops.agreeing else BEAT):
            beat += 1
            try:
                self._store.tell(f"life/{self.number}", json.dumps([beat, *self._note]))
                for host, said in self._store.all("life").items():
                    if int(host) != self.number:
                        self._news[int(host)].hear(said)
                self._stops.listen()
                self._failure = self._failure or self._failed() or self._lost(self._lost_after)
            except RuntimeError as error:  # JAX's errors are: the store is gone, and host 0 with it
                self._failure = self._failure or self._gone(str(error))
            if self._failure is not None and self._leaving is None:
                failed = failed or time.monotonic()
                if time.monotonic() - failed > GRACE:
                    self._last_word(self._failure)

    def _failed(self) -> HostError | None:
        """Returns the error that another host has told, after saying that it was heard."""
        told = {int(host): said for host, said in self._store.all("failed").items() if int(host) != self.number}
        if not told or self._leaving is not None:
            return None
        self._store.tell(f"heard/{self.number}", "")
        host, said = min(told.items())
        text, code = json.loads(said)
        return HostError(f"Host {host} of {self.count} has ended: {text}\n{AGAIN}", code)

    def _lost(self, seconds: float) -> HostError | None:
        """Returns the error for hosts that have given no sign of life for so many seconds."""
        lost = [host for host, news in self._news.items() if time.monotonic() - news.heard > seconds]
        if not lost:
            return None
        said = "; ".join(f"host {host} of {self.count} is gone; {self._news[host]}" for host in lost)
        return HostError(f"{said[0].upper()}{said[1:]}.\n{AGAIN}")

    def _gone(self, why: str) -> HostError:
        news = f"; {self._news[0]}" if 0 in self._news else f" ({why.splitlines()[0]})"
        return HostError(f"Host 0 of {self.count}, where the hosts meet, is gone{news}.\n{AGAIN}")

    def aborted(self, line: str) -> None:
        """Ends the process, which a library is about to end because hosts are lost."""
        if self._leaving is None:
            self._last_word(self._failure or self._lost(3 * BEAT) or self._gone(line))
        elif not self._closed.wait(GRACE / 2):  # the main thread is about to say why, unless it waits for the store
            self._last_word(self._leaving)

    def _last_word(self, error: BaseException) -> None:
        """Says why, and ends the process, whose main thread waits for what does not come."""
        self._leaving = error
        print(f"error: {error}", file=sys.stderr, flush=True)
        self._end(code_of(error))

    # Leaving: on the main thread.

    def leave(self, error: BaseException) -> BaseException:
        """Returns what ends this host, given what was raised: that, or what another host has told."""
        if isinstance(error, Exception) and not isinstance(error, XlingError):
            error = self._explained(error)
        self._leaving = error
        if self._failure is not None:  # the others know of it, and the store may be gone
            return error
        text = (str(error) or type(error).__name__).splitlines()[0]
        named = text if isinstance(error, XlingError) else f"{type(error).__name__}: {text}"
        with contextlib.suppress(RuntimeError):  # nobody may be there to be told
            self._store.tell(f"failed/{self.number}", json.dumps([named, code_of(error)]))
            self._wait_for_ears()
            self._store.tell(f"left/{self.number}", "")
        return error

    def _wait_for_ears(self) -> None:
        """Waits until all others have heard of the failure, or have one themselves: host 0 takes the store along."""
        until, gone = time.monotonic() + FAREWELL, ("heard", "left") if self.number == 0 else ("heard", "failed")
        while time.monotonic() < until:
            if set(self._news) <= {int(host) for folder in gone for host in self._store.all(folder)}:
                return
            time.sleep(BEAT / 10)

    def _explained(self, error: Exception) -> Exception:
        """Returns the loss of a host, if that is what an error came from: an operation over devices that are gone."""
        until = time.monotonic() + SUSPECT + 2 * BEAT
        while time.monotonic() < until:
            found = self._failure or self._lost(SUSPECT)
            if found:
                self._failure = found
                return found
            time.sleep(BEAT / 10)
        return error


class Stops:
    """When to stop: the hosts agree on a call, so that all of them stop at the same step.

    Hosts count how often they were asked whether to stop. Once one of them is to, each tells its count and lets no
    further call through until it knows all of them: none has gone beyond its own count plus one, so the greatest
    plus one is a call that all of them are still to come to.
    """

    def __init__(self, store: Any, number: int, count: int):
        """Takes where hosts meet, which this is, how many there are."""
        self.asked: Callable[[], bool] = lambda: False
        self._store, self._number, self._count = store, number, count
        self._turn = threading.Lock()
        self._calls, self._from = 0, 0  # calls so far, and the one from which on the answer is yes
        self._wanted = self.agreeing = False

    def anywhere(self) -> bool:
        """Whether any host was asked to stop, as far as this one knows."""
        return self._wanted or self.asked()

    def reached(self) -> bool:
        """Whether to stop, now that all hosts are at this call."""
        with self._turn:
            self._calls += 1
            return 0 < self._from <= self._calls

    def listen(self) -> None:
        """Tells and hears; called by a thread from time to time."""
        if self._from:
            return
        if not self._wanted:
            if self.asked():
                self._store.tell(f"stop/{self._number}", "")
            self._wanted = bool(self._store.all("stop"))
        if self._wanted and not self.agreeing:
            self._turn.acquire()
            self.agreeing = True
            self._store.tell(f"calls/{self._number}", str(self._calls))
        if self.agreeing:
            calls = self._store.all("calls")
            if len(calls) == self._count:
                self._from, self.agreeing = 1 + max(map(int, calls.values())), False
                self._turn.release()
