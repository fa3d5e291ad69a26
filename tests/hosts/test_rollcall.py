"""Who has come, before JAX is asked: threads call each other over real sockets."""

import concurrent.futures
import json
import socket
import threading
import time

import pytest
from processes import free_port

from xling_jax.errors import ConfigError, HostError, Interrupted, XlingError
from xling_jax.partitioning import rollcall


@pytest.fixture(autouse=True)
def hurry(monkeypatch):
    monkeypatch.setattr(rollcall, "LOOK", 0.05)


def called(port, *hosts, wait=20.0, stop_asked=lambda: False):
    """Returns what calling ends with on each of (host, hosts): None, or the error."""

    def one(host, count):
        try:
            rollcall.call(f"127.0.0.1:{port}", count, host, wait, stop_asked)
        except XlingError as error:
            return error
        return None

    with concurrent.futures.ThreadPoolExecutor(len(hosts)) as pool:
        return [future.result(60) for future in [pool.submit(one, *host) for host in hosts]]


def test_all_come():
    port = free_port()
    assert called(port, (2, 3), (0, 3), (1, 3)) == [None, None, None]
    with socket.create_server(("127.0.0.1", port)):  # which is free for JAX at once
        pass


def test_those_who_do_not_come_are_named_to_all():
    errors = called(free_port(), (0, 4), (2, 4), wait=0.5)
    assert all(str(error).startswith("Hosts 1, 3 of 4 have not come to port ") for error in errors)
    assert all(isinstance(error, HostError) and error.exit_code == 75 for error in errors)
    (error,) = called(free_port(), (1, 2), wait=0.3)
    assert str(error).startswith("Host 0 of 2 has not come to 127.0.0.1:")


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (((0, 3), (1, 3), (1, 3)), "A second host 1 of 3 has come"),
        (((0, 2), (1, 3)), "Host 1 was started as one of 3 hosts, and host 0 as one of 2"),
    ],
)
def test_a_mistake_in_the_numbers_is_told_to_all(hosts, expected):
    errors = called(free_port(), *hosts)
    assert all(isinstance(error, ConfigError) and str(error).startswith(expected) for error in errors), errors


def test_a_host_that_has_gone_away_may_come_again_and_strangers_are_not_counted():
    port = free_port()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(called, port, (0, 3))
        for hello in ({"host": 1, "hosts": 3}, {"hello": 1}, ["x"], "GET / HTTP/1.1"):
            line = knock(port)
            line.sendall(json.dumps(hello).encode() + b"\n")
            time.sleep(0.2)
            line.close()
        assert called(port, (1, 3), (2, 3)) == [None, None]
        assert first.result() == [None]


def knock(port):
    for _ in range(200):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=5)
        except OSError:
            time.sleep(0.02)
    raise AssertionError("nobody listens")


@pytest.mark.parametrize("host", [0, 1])
def test_who_is_asked_to_stop_does_not_wait(host):
    told = threading.Event()
    threading.Timer(0.3, told.set).start()
    (error,) = called(free_port(), (host, 2), stop_asked=told.is_set)
    assert isinstance(error, Interrupted)


def test_a_port_in_use_is_an_error():
    with socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True) as taken:
        (error,) = called(taken.getsockname()[1], (0, 2))
    assert isinstance(error, ConfigError) and "Host 0 cannot listen on port" in str(error)
