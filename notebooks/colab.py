"""What the notebooks stand on: installing, running `xling` in a process of its own, showing what the report has.

A notebook never imports JAX. A TPU belongs to one process at a time, and here that is each `xling` in turn; reading
results and drawing need none. Works in Colab, in Jupyter, and where neither is.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import os
import pathlib
import platform
import pprint
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Any, NoReturn

ROOT = pathlib.Path(__file__).resolve().parent.parent
DRIVE = pathlib.Path("/content/drive")
NEEDED = "absl array_record etils flax grain jax matplotlib ml_collections optax orbax rich scipy sentencepiece".split()
HELD = ("jax", "jaxlib", "libtpu", "numpy")  # as the machine has them: its accelerator and its own packages go by them
INTERRUPTED = 75
PLAIN = {"PYTHONUNBUFFERED": "1", "COLUMNS": "120"}
COLOURED = "FORCE_COLOR"  # Jupyter says so, which programs take for a terminal: each move of a bar would be a line here


class Stopped(Exception):
    """Ends a cell, and "Run all", with what is to be said, in place of a traceback."""

    def _render_traceback_(self) -> list[str]:
        """Returns what IPython shows."""
        return [f"Stopped: {self}"]


def install() -> None:
    """Installs the package with what it needs, if anything is missing; JAX and NumPy stay what they are."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f"installing what is missing ({' '.join(missing)}): two to five minutes")
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as held:
            held.writelines(f"{name}=={version}\n" for name in HELD if (version := _version(name)))
            held.flush()
            pip = (
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--editable",
                str(ROOT),
                "--constraint",
                held.name,
            )
            if subprocess.run(pip, check=False).returncode:
                raise Stopped(f"pip could not install {ROOT}; its own message is above.")
        importlib.invalidate_caches()
    print(f"Python {platform.python_version()}, jax {_version('jax')}, xling_jax of {ROOT}")


def _version(name: str) -> str:
    """Returns the version of an installed package, "" where there is none."""
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return ""


def mount(*paths: pathlib.Path) -> None:
    """Mounts Google Drive where a path lies in it; asks for leave, once. Outside of Colab it does nothing."""
    if "google.colab" in sys.modules and any(path.is_relative_to(DRIVE) for path in paths):
        importlib.import_module("google.colab.drive").mount(str(DRIVE))


def begin(*words: Any, **more: Any) -> subprocess.Popen:
    """Starts `xling WORDS` and returns its process, which a notebook that is interrupted has to stop."""
    command = [sys.executable, "-m", "xling_jax", *map(str, words)]
    known = {name: value for name, value in os.environ.items() if name != COLOURED} | PLAIN
    how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=known, start_new_session=True, **(how | more))


def stop(process: subprocess.Popen) -> int:
    """Asks a process to save and end, waits until it has, and returns its exit code."""
    process.send_signal(signal.SIGTERM)
    return process.wait()


def xling(*words: Any) -> None:
    """Runs `xling WORDS`, and shows what it says when it says it. Raises Stopped if it fails or is interrupted."""
    process = begin(*words)
    assert process.stdout is not None, "begin() gives it a pipe"
    try:
        for line in process.stdout:
            print(line, end="")
    except KeyboardInterrupt:
        stop(process)
        raise Stopped("interrupted. What is done is kept; run this cell again to go on.") from None
    if code := process.wait():
        _fail(str(words[0]), code)


def _fail(verb: str, code: int) -> NoReturn:
    if code == INTERRUPTED:
        raise Stopped(f"`xling {verb}` was asked to end, and has saved. Run this cell again to go on.")
    raise Stopped(f"`xling {verb}` left with code {code}. What it says above is to be put right first.")


def write_config(path: pathlib.Path, fields: Mapping[str, Any], study: bool = False) -> pathlib.Path:
    """Writes the config file of an experiment, or of a study, that is declared in a notebook, and returns its path."""
    module, complete = ("study", "complete_study") if study else ("experiment", "complete")
    path.parent.mkdir(parents=True, exist_ok=True)
    declared = pprint.pformat(fields, width=110, sort_dicts=False)
    imports = f"from ml_collections import ConfigDict\n\nfrom xling_jax.{module} import {complete}\n\n"
    function = f"\n\ndef get_config():\n    return ConfigDict({complete}(FIELDS))\n"
    path.write_text(f"{imports}FIELDS = {declared}\n{function}", encoding="utf-8")
    return path


def picture(drawing: Any) -> Any:
    """Returns a drawing of the report as a notebook shows it."""
    from IPython.display import Image  # noqa: PLC0415 - so that scripts run where there is no IPython

    return Image(data=drawing.png, format="png", width=drawing.width)


def show(*things: Any) -> None:
    """Shows tables and drawings of the report, each with its title and what is to be said of it, and plain text."""
    from IPython.display import Markdown, display  # noqa: PLC0415

    from xling_jax.report.figures import Drawing  # noqa: PLC0415 - there is only after install()
    from xling_jax.report.plain import legend, markdown_table  # noqa: PLC0415
    from xling_jax.report.table import Table  # noqa: PLC0415

    for thing in things:
        if isinstance(thing, Table):
            display(Markdown("\n\n".join([f"**{thing.title}**", thing.note, markdown_table(thing), *legend(thing)])))
        elif isinstance(thing, Drawing):
            display(picture(thing), Markdown(f"*{thing.caption}*"))
        else:
            display(Markdown(str(thing)))
