"""What makes a run stop: signals, and notices of a fake metadata server."""

import http.server
import os
import signal
import threading
import time

import pytest

from xling_jax.doors import stopping

PLAIN = {"preempted": "FALSE", "maintenance-event": "NONE", "upcoming-maintenance?alt=json": '{"error": "none yet"}'}


@pytest.fixture
def metadata(monkeypatch):
    """Serves {key: answer} as a cloud's metadata server does; refuses who does not say the word it wants to hear."""
    answers, asked = dict(PLAIN), []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            key = self.path.removeprefix("/computeMetadata/v1/instance/")
            asked.append(key)
            there = key in answers and self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if there else 404)
            self.end_headers()
            self.wfile.write(answers.get(key, "").encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    monkeypatch.setenv(stopping.HOST_NAMED_BY, host)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody is there, and nobody must be asked
    yield host, answers, asked
    server.shutdown()
    server.server_close()


@pytest.fixture
def handlers():
    """Puts the handlers of signals back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No machine of a cloud, whatever the tests run on."""
    monkeypatch.delenv(stopping.HOST_NAMED_BY, raising=False)
    monkeypatch.setattr(stopping, "PRODUCT", tmp_path / "product_name")


@pytest.mark.parametrize(
    ("key", "answer", "said"),
    [
        ("preempted", "TRUE", "preempted: TRUE"),
        ("maintenance-event", "TERMINATE_ON_HOST_MAINTENANCE", "maintenance-event: TERMINATE_ON_HOST_MAINTENANCE"),
        ("maintenance-event", "MIGRATE_ON_HOST_MAINTENANCE", ""),
        ("upcoming-maintenance?alt=json", '{"maintenanceStatus": "ONGOING"}', "upcoming-maintenance: ONGOING"),
        ("upcoming-maintenance?alt=json", '{"maintenanceStatus": "PENDING"}', ""),
    ],
)
def test_notices(metadata, key, answer, said):
    """What is days ahead, or moves the machine as it runs, is no reason to stop."""
    host, answers, asked = metadata
    assert stopping.notice(host) == "" and asked == list(PLAIN)
    answers[key] = answer
    assert stopping.notice(host) == said


@pytest.mark.parametrize("answer", [None, "", "<html>no such page</html>"])
def test_a_server_without_an_answer_is_no_notice(metadata, answer):
    host, answers, _ = metadata
    answers.clear()
    if answer is not None:
        answers |= dict.fromkeys(PLAIN, answer)
    assert stopping.notice(host) == ""
    assert stopping.notice("127.0.0.1:9") == "", "nobody is there"


def test_a_notice_is_as_good_as_a_signal(metadata, handlers, capfd, monkeypatch):
    """It comes between two questions, and the run is asked to stop, once."""
    _, answers, asked = metadata
    monkeypatch.setattr(stopping, "ASK_EVERY", 0.01)
    stop_asked = stopping.catch_signals()
    while len(asked) < 2 * len(PLAIN):
        time.sleep(0.01)
    assert not stop_asked()
    answers["preempted"] = "TRUE"
    (thread,) = [one for one in threading.enumerate() if one.name == "notices"]
    thread.join(10)
    assert stop_asked()
    said = capfd.readouterr().err
    assert "the machine is about to be taken away (preempted: TRUE)\nasked to stop: saving first" in said


def test_no_machine_of_a_cloud_is_asked_nothing(nowhere, handlers):
    assert stopping.metadata_host() == "" and stopping.watch() is None
    stopping.PRODUCT.write_text("KVM\n")
    assert stopping.metadata_host() == ""
    stopping.PRODUCT.write_text("Google Compute Engine\n")
    assert stopping.metadata_host() == "metadata.google.internal"


def test_signals_are_told_once_and_the_second_interrupt_is_not_caught(nowhere, handlers, capfd):
    stop_asked = stopping.catch_signals()
    assert not stop_asked()
    for _ in range(3):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop_asked() and capfd.readouterr().err.count("asked to stop") == 1
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL


def test_a_closed_terminal_is_no_reason_not_to_save(nowhere, handlers, monkeypatch):
    def write(*_):
        raise BrokenPipeError

    stop_asked = stopping.catch_signals()
    monkeypatch.setattr(stopping.os, "write", write)
    os.kill(os.getpid(), signal.SIGTERM)
    assert stop_asked()
