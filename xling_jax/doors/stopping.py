"""When to stop: SIGTERM, Ctrl-C, or a cloud's notice that it is about to take the machine away."""

import contextlib
import http.client
import os
import pathlib
import signal
import threading
import urllib.request
from collections.abc import Callable

# Google's libraries look for their metadata server at the same places.
HOST_NAMED_BY = "GCE_METADATA_HOST"
HOST = "metadata.google.internal"
PRODUCT = pathlib.Path("/sys/class/dmi/id/product_name")
ASK_EVERY = 5.0  # seconds; the shortest notice is one of 30
PATIENCE = 3.0  # seconds; the server is on the machine itself

# What the metadata server of a virtual machine is asked -> the word of an answer that says that its end is near.
# A spot machine is taken back; a machine that cannot be moved is stopped, 60 seconds before (an hour, with GPUs); the
# maintenance of a TPU, of which it tells days before as PENDING, begins.
NOTICES = {
    "preempted": "TRUE",
    "maintenance-event": "TERMINATE_ON_HOST_MAINTENANCE",
    "upcoming-maintenance?alt=json": "ONGOING",
}


def catch_signals() -> Callable[[], bool]:
    """Returns a function that says whether SIGTERM, Ctrl-C or a notice has come.

    What comes after the first changes nothing, but for Ctrl-C: that ends the process at once.
    """
    asked: list[int] = []

    def ask(number, _frame):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        asked.append(number)  # at first, because the next signal does not wait for this one
        if len(asked) == 1:
            _say("asked to stop: saving first; Ctrl-C stops at once")

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    watch()
    return lambda: bool(asked)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is closed is no reason not to save
        os.write(2, f"{line}\n".encode())


def metadata_host() -> str:
    """Returns the host of the metadata server, "" where this is no machine of Google's cloud."""
    if os.environ.get(HOST_NAMED_BY):
        return os.environ[HOST_NAMED_BY]
    with contextlib.suppress(OSError):
        return HOST if PRODUCT.read_text(encoding="utf-8").startswith("Google") else ""
    return ""


def watch() -> threading.Thread | None:
    """Starts a thread that asks for notices, where there is a server to ask, and makes SIGTERM of the first one."""
    host = metadata_host()
    if not host:
        return None
    thread = threading.Thread(target=_wait, args=(host,), name="notices", daemon=True)
    thread.start()
    return thread


def _wait(host: str) -> None:
    pause = threading.Event()
    while not (found := notice(host)):
        pause.wait(ASK_EVERY)
    _say(f"the machine is about to be taken away ({found})")
    os.kill(os.getpid(), signal.SIGTERM)  # so that whatever listens to that is told, JAX too


def notice(host: str) -> str:
    """Returns what a metadata server says of the machine's end, "" if nothing, or if it does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # the server is behind no proxy
    for key, word in NOTICES.items():
        url = f"http://{host}/computeMetadata/v1/instance/{key}"
        request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
        with (
            contextlib.suppress(OSError, ValueError, http.client.HTTPException),
            opener.open(request, timeout=PATIENCE) as answer,
        ):
            if word in answer.read(10_000).decode("utf-8", "replace"):
                return f"{key.partition('?')[0]}: {word}"
    return ""
