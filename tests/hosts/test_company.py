"""What hosts say to each other, with threads in the place of hosts and a dictionary in that of their store."""

import concurrent.futures
import random
import re
import threading
import time

import pytest

from xling_jax.errors import DataError, HostError, Interrupted
from xling_jax.partitioning import company
from xling_jax.partitioning.company import Company

QUICK = 0.02  # seconds of a beat


class Dictionary:
    """A store that all hosts of a test share."""

    def __init__(self):
        self.texts: dict[str, str] = {}
        self._changed = threading.Condition()

    def tell(self, name, text):
        with self._changed:
            self.texts[name] = text
            self._changed.notify_all()

    def hear(self, name, seconds):
        with self._changed:
            self._changed.wait_for(lambda: name in self.texts, seconds)
            return self.texts.get(name)

    def all(self, folder):
        with self._changed:
            items = list(self.texts.items())
        return {name.removeprefix(f"{folder}/"): text for name, text in items if name.startswith(f"{folder}/")}


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    for name, seconds in {"BEAT": QUICK, "GRACE": 4 * QUICK, "FAREWELL": 2.0, "SUSPECT": 1.0}.items():
        monkeypatch.setattr(company, name, seconds)


@pytest.fixture
def make():
    """Returns what makes the hosts of a run; they are closed at the end. `ends` has what would end their processes."""
    made = []

    def some(count, wait=5.0):
        store = Dictionary()
        hosts = []
        for number in range(count):
            ends = []
            host = Company(store, number, count, wait, ends.append)
            host.ends = ends
            hosts.append(host)
            host.listen()
        made.extend(hosts)
        return hosts

    yield some
    for host in made:
        host.close()


def on_all(hosts, function):
    """Returns what a function of a host returns on each, all at once."""
    with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
        return [future.result(20) for future in [pool.submit(function, host) for host in hosts]]


def wait_until(true):
    until = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until
        time.sleep(QUICK)


def test_all_meet_as_often_as_they_like(make):
    hosts, places = make(3), []

    def go(host):
        for place in range(3):
            time.sleep(0.1 * (host.number == 2))
            places.append(place)
            host.meet("here")

    on_all(hosts, go)
    assert places == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_the_first_one_makes_and_all_have_it(make):
    made = []

    def value(host):
        return host.first_does("it", lambda: made.append(host.number) or {"a": (1, None)})

    assert on_all(make(3), value) == [{"a": [1, None]}] * 3 and made == [0]


def test_who_is_missing_is_named_with_what_it_last_said(make):
    first, second, third = make(3, wait=0.5)
    for host in (first, second, third):
        host._lost_after = 20.0
    second._note = ("stage mnli: 40/100 steps", time.time() - 312)
    with pytest.raises(HostError) as error:
        first.meet("prepared")
    said = str(error.value)
    expected = r"Host 1 of 3 is missing at .prepared.; it last said .stage mnli: 40/100 steps. 31\d s ago; "
    assert re.match(expected, said)
    assert "host 2 of 3 is missing at 'prepared'; it has said nothing yet.\n" in said
    assert error.value.exit_code == 75


def test_who_has_news_is_waited_for(make):
    first, second = make(2, wait=1.0)

    def come(host):
        if host is second:
            for step in range(20):  # twice as long as hosts wait for one that says nothing
                host.note(f"step {step}")
                time.sleep(0.1)
        host.meet("here")

    on_all([first, second], come)


def test_a_host_without_a_sign_of_life_is_gone(make, capsys):
    first, second = make(2, wait=1.0)
    second.note("reading")
    wait_until(lambda: first._news[1].text == "reading")
    second.close()
    wait_until(lambda: first.ends)
    assert first.ends[0] == 75, "the thread ends a process whose main thread hangs"
    assert "error: Host 1 of 2 is gone; it last said 'reading' " in capsys.readouterr().err


def test_an_error_is_told_and_ends_who_waits_and_who_does_not(make, capsys):
    waiting, busy, failing = make(3)

    def go(host):
        if host is failing:
            return failing.leave(DataError("No file x.\nAllowed: y."))
        if host is waiting:
            with pytest.raises(HostError) as error:
                host.meet("here")
            return host.leave(error.value)
        wait_until(lambda: host.ends)
        return None

    _, _, mine = on_all([waiting, busy, failing], go)
    assert isinstance(mine, DataError)
    assert str(waiting._failure).startswith("Host 2 of 3 has ended: No file x.\nWhat was saved stays")
    assert waiting._failure.exit_code == 3
    assert busy.ends and set(busy.ends) == {3} and not waiting.ends and not failing.ends
    assert "error: Host 2 of 3 has ended: No file x." in capsys.readouterr().err


def test_who_fails_with_the_others_says_what_it_found(make):
    hosts = make(2)
    mine = [Interrupted(f"Stopped, says {host.number}.") for host in hosts]
    assert on_all(hosts, lambda host: host.leave(mine[host.number])) == mine
    assert not hosts[0].ends and not hosts[1].ends


def test_an_error_of_a_library_is_the_loss_of_a_host_if_one_is_lost(make):
    first, second = make(2)
    assert str(first.leave(TypeError("a mistake of ours"))) == "a mistake of ours"
    first, second = make(2)
    slow = first.leave(RuntimeError("INTERNAL: Gloo context initialization failed: DEADLINE_EXCEEDED"))
    assert isinstance(slow, HostError) and "all hosts has failed: INTERNAL: Gloo context" in str(slow)
    first, second = make(2)
    second.close()
    found = first.leave(ValueError("Gloo all-reduce failed"))
    assert isinstance(found, HostError) and "Host 1 of 2 is gone" in str(found)


@pytest.mark.parametrize("seed", range(8))
def test_all_stop_at_the_same_call(make, seed):
    """Hosts of different speeds, of which one is asked at any moment, and which wait for each other now and then."""
    rng, hosts = random.Random(seed), make(3)
    asked = dict.fromkeys(hosts, False)
    pace = {host: rng.random() * 0.004 for host in hosts}
    when, whom = rng.randrange(1, 60), hosts[rng.randrange(3)]

    def steps(host):
        stop = host.together(lambda: asked[host])
        for step in range(2000):
            asked[host] = asked[host] or (host is whom and step >= when)
            if stop():
                return step
            time.sleep(pace[host])
            if step % 10 == 0:
                host.meet("a step that is read")
        return None

    found = on_all(hosts, steps)
    assert len(set(found)) == 1 and found[0] is not None and found[0] >= when - 10


def test_what_one_host_does_alone_is_not_counted(make):
    hosts, told = make(2), threading.Event()

    def go(host):
        stop = host.together(told.is_set if host.number else lambda: False)

        def alone():
            assert not any(stop() for _ in range(7))
            told.set()
            while not stop():  # the other host was asked, and this one hears of it
                time.sleep(QUICK)
            return "stopped"

        found = host.first_does("something long", alone)
        return found, next(call for call in range(100) if stop())

    (found, first), (_, second) = on_all(hosts, go)
    assert found == "stopped" and first == second
