"""What ends a process from within a library: told in a line, and not as the stack of another language.

When hosts are lost JAX ends its process by abort(), with a page of addresses and nothing that Python could catch. Here
the thread that aborts sleeps for some seconds first, and what it has printed is read by another one.
"""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

FATAL = b"JAX distributed service detected fatal errors"
NOISE = b" coordination_service"  # the file that says before that that it is about to


def catch_aborts(told: Callable[[str], None]) -> None:
    """Gives the line with which JAX ends the process to `told`, which has seconds to end it otherwise.

    Everything else that libraries write to standard error goes where it went. Call it once.
    """
    if sys.platform != "linux":
        return
    sys.stderr.flush()
    kept = os.dup(2)
    sys.stderr = os.fdopen(kept, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)
    threading.Thread(target=_forward, args=(reading, kept, told), daemon=True).start()
    library = ctypes.CDLL(None)
    library.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    # A handler gets the signal's number, and sleep() takes seconds: six of them.
    library.signal(signal.SIGABRT, ctypes.cast(library.sleep, ctypes.c_void_p))


def _forward(reading: int, kept: int, told: Callable[[str], None]) -> None:
    with os.fdopen(reading, "rb") as lines:
        for line in lines:
            if FATAL in line:
                told(line.decode("utf-8", "replace"))
                return  # what follows are addresses
            if NOISE not in line:
                os.write(kept, line)
