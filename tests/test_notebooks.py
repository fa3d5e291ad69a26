"""The notebooks: made of their scripts, and run from end to end as Colab runs them, in a folder that has nothing else.

Each is executed, then again with a new kernel, as "Restart and run all" does: nothing is done twice, all is alike.
"""

import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import nbclient
import nbformat
import pytest

from notebooks import build, colab

ROOT = pathlib.Path(__file__).resolve().parent.parent
NAMES = ("study", "world", "xlmr_base")
LIMIT = 900  # seconds, for a machine that does other things, too
NUMBER = re.compile(r"[−+-]?\d+\.\d")


def environment(**more):
    """Returns the tests' environment as a kernel of Jupyter has it: one device, and pictures where they are shown."""
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    left = ("MPLBACKEND", "XLING_DATA", "XLING_WEIGHTS", "XLING_STUDY", "XLING_REPOSITORY")
    kept = {name: value for name, value in os.environ.items() if name not in left}
    return kept | {"XLA_FLAGS": " ".join(flags), "XLING_TINY": "1"} | more


@pytest.fixture
def place(tmp_path):
    """Returns an empty folder beside whose notebooks there is a clone, as Colab's first cell leaves it."""
    (tmp_path / "content").mkdir()
    (tmp_path / "content/xling_jax").symlink_to(ROOT)
    return tmp_path / "content"


def execute(name, place, **more):
    """Returns a notebook after a run with a kernel of its own."""
    notebook = nbformat.read(ROOT / f"notebooks/{name}.ipynb", 4)
    client = nbclient.NotebookClient(notebook, timeout=LIMIT, resources={"metadata": {"path": str(place)}})
    client.execute(env=environment(XLING_WORK=str(place / "work"), **more))
    return notebook


def outputs(notebook, kind="stream"):
    """Returns the outputs of a notebook's cells: of a stream, or of a type of data."""
    found = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    if kind == "stream":
        return [output.text for output in found if output.output_type == kind]
    return [output.data[kind] for output in found if kind in output.get("data", ())]


def check_quiet(notebook):
    """Nothing is said where errors are said, and no bar was drawn as if this were a terminal."""
    loud = [one.text for cell in notebook.cells for one in cell.get("outputs", ()) if one.get("name") == "stderr"]
    assert not loud
    assert "\x1b" not in "".join(outputs(notebook)) and "Warning" not in "".join(outputs(notebook))


def rows_of(workdir):
    """Returns by (arm, task, language) the values of all seeds, of the rows that the report joins."""
    found = {}
    for line in (workdir / "report/results.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault((row["arm"], row["task"], row["metric"], row["language"]), []).append(row["value"])
    return found


def numbers_of(notebook, title):
    """Returns the rows of a table that a notebook shows: its name, and the first number in each of its columns."""
    (text,) = (text for text in outputs(notebook, "text/markdown") if text.startswith(f"**{title}**"))
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {line[0]: dict(zip(lines[0], map(first_number, line[1:]), strict=True)) for line in lines[2:]}, lines


def first_number(text):
    found = NUMBER.search(text)
    return float(found.group().replace("−", "-")) if found else None


def check_scores(notebook, title, rows, task, metric):
    """Every score of a table is the mean of its rows, and every cell is there."""
    table, lines = numbers_of(notebook, title)
    codes = [code for code in lines[0] if any(key[3] == code for key in rows)]
    arms = {key[0] for key in rows}
    assert len(codes) >= 3 and arms <= set(table)
    for arm in arms:
        for code in codes:
            values = rows[arm, task, metric, code]
            assert table[arm][code] == pytest.approx(sum(values) / len(values), abs=0.051)


# ---- Scripts and what is made of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_what_its_script_makes(name):
    made = build.notebook((ROOT / f"notebooks/{name}.py").read_text(encoding="utf-8"))
    kept = (ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8")
    assert kept == made, f"notebooks/{name}.py has changed. Run: python notebooks/build.py"
    nbformat.validate(nbformat.reads(made, 4))


def test_every_script_with_cells_is_a_notebook_and_all_begin_alike():
    assert [path.stem for path in build.scripts()] == sorted(NAMES)
    assert sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")) == sorted(NAMES)
    begun = {
        tuple(content for kind, content in build.cells(path.read_text()) if kind == "code")[:2]
        for path in build.scripts()
    }
    assert len(begun) == 1, "the first two cells, which find and install the program, are the same in all"


def test_cells_of_a_script():
    script = '"""Of the script."""\n\n# %% [markdown]\n# # Title\n#\n# Text.\n\n# %%\nx = 1\n\n# A comment.\n'
    assert build.cells(script) == [("markdown", "# Title\n\nText."), ("code", "x = 1\n\n# A comment.")]
    with pytest.raises(ValueError, match="begins no cell"):
        build.cells("# %% [markdwon]\n# Text.\n")


def first_cell(name="world"):
    return next(content for kind, content in build.cells((ROOT / f"notebooks/{name}.py").read_text()) if kind == "code")


def run_first_cell(folder, **more):
    code = first_cell() + "\nprint(pathlib.Path.cwd(), sys.path[0])"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=environment(**more), capture_output=True, text=True, check=False)


def test_without_a_clone_and_an_address_it_says_so(tmp_path):
    done = run_first_cell(tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr == "No clone of xling_jax is here. Say its address as REPOSITORY in this cell, and run it again.\n"
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_first_cell_clones_once(tmp_path):
    origin, content = tmp_path / "origin", tmp_path / "content"
    (origin / "notebooks").mkdir(parents=True)
    content.mkdir()
    shutil.copy(ROOT / "notebooks/colab.py", origin / "notebooks")
    who = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (("init", "--quiet"), ("add", "."), (*who, "commit", "--quiet", "-m", "first")):
        subprocess.run(["git", *words], cwd=origin, check=True)
    for address in (str(origin), "nowhere"):  # the second time it is there, and the address does not matter
        done = run_first_cell(content, XLING_REPOSITORY=address)
        clone = content / "xling_jax"
        assert (done.returncode, done.stdout.split()) == (0, [str(clone)] * 2), done.stderr
    assert run_first_cell(content / "xling_jax/notebooks").stdout.split() == [str(content / "xling_jax")] * 2


# ---- What notebooks stand on -----------------------------------------------------------------------------------------


def test_installing_holds_jax_and_numpy(monkeypatch, capsys):
    asked = []

    def run(command, check):
        asked.extend([command, pathlib.Path(command[-1]).read_text().split()])
        return subprocess.CompletedProcess(command, len(asked) > 2)

    spec = colab.importlib.util.find_spec
    monkeypatch.setattr(colab.importlib.util, "find_spec", lambda name: None if name == "grain" else spec(name))
    monkeypatch.setattr(colab.subprocess, "run", run)
    colab.install()
    command, held = asked
    assert command[1:4] == ("-m", "pip", "install") and command[-2] == "--constraint" and str(ROOT) in command
    assert {f"{name}=={importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "numpy")} <= set(held)
    assert "installing what is missing (grain)" in capsys.readouterr().out
    with pytest.raises(colab.Stopped, match="pip could not install"):
        colab.install()


def test_nothing_is_installed_where_nothing_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(colab.subprocess, "run", lambda *_, **__: pytest.fail("it installs"))
    colab.install()
    assert capsys.readouterr().out.startswith("Python 3.")


def test_a_failure_is_a_line_and_no_traceback(capsys):
    with pytest.raises(colab.Stopped) as found:
        colab.xling("walk")
    assert "error: Unknown verb 'walk'" in capsys.readouterr().out
    (line,) = found.value._render_traceback_()
    assert line == "Stopped: `xling walk` left with code 2. What it says above is to be put right first."


def test_an_interrupted_cell_lets_its_process_save(monkeypatch, tmp_path, capsys):
    code = (
        "import pathlib, signal, sys, time\n"
        f"def save(*_): pathlib.Path({str(tmp_path / 'saved')!r}).touch(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, save); print('begun', flush=True); time.sleep(60)"
    )
    how = {"stdout": subprocess.PIPE, "text": True, "start_new_session": True}
    monkeypatch.setattr(colab, "begin", lambda *_: subprocess.Popen([sys.executable, "-c", code], **how))

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(colab, "print", interrupt, raising=False)
    with pytest.raises(colab.Stopped, match=r"interrupted\. What is done is kept"):
        colab.xling("run")
    assert (tmp_path / "saved").exists()


def test_a_config_that_is_written_is_one_that_loads(tmp_path):
    path = colab.write_config(tmp_path / "new/experiment.py", {"name": "x", "baseline": "none", "seeds": (0,)})
    scope = {}
    text = path.read_text()
    assert "complete(FIELDS)" in text
    exec(text.replace("ConfigDict(complete(FIELDS))", "FIELDS"), scope)
    assert scope["get_config"]() == {"name": "x", "baseline": "none", "seeds": (0,)}


# ---- From end to end -------------------------------------------------------------------------------------------------


def touched(work):
    """Returns when each file of a stage, of an import and of an export was written."""
    kept = [path for name in ("stages", "imported", "exported") for path in work.rglob(f"{name}/**/*")]
    return {path: path.stat().st_mtime_ns for path in kept if path.is_file()}


def check_again(name, place, first, kinds, **more):
    """A second run trains and writes nothing, and shows the same."""
    before = touched(place / "work")
    assert before
    second = execute(name, place, **more)
    check_quiet(second)
    assert touched(place / "work") == before, "what is done is done again"
    for kind in kinds:
        assert outputs(second, kind) == outputs(first, kind)


@pytest.mark.timeout(LIMIT)
def test_study(place):
    notebook = execute("study", place)
    check_quiet(notebook)
    rows = rows_of(place / "work/study")
    said = "".join(outputs(notebook))
    for (arm, _, metric, code), values in rows.items():
        if arm in ("none", "qa_64") and metric == "f1":
            for seed, value in enumerate(values):
                assert re.search(rf"\b{arm} +{seed} +{code} +{value:.1f} ", said)
    (by_hand,) = re.findall(r"by hand +([+-]\d+\.\d\d)", said)
    f1 = {arm: [rows[arm, "world_qa2", "f1", code] for code in ("qnd", "qda")] for arm in ("qa_64", "none")}
    means = {arm: sum(map(sum, values)) / 4 for arm, values in f1.items()}
    assert float(by_hand) == pytest.approx(means["qa_64"] - means["none"], abs=0.006)
    table, _ = numbers_of(notebook, "Gains by examples: gains")
    assert table["examples 64"]["zero-shot"] == pytest.approx(float(by_hand), abs=0.051)
    assert "Latin (qnd) minus others (qda)" in said
    assert len(outputs(notebook, "image/png")) == 2
    check_again("study", place, notebook, ("text/markdown", "image/png"))


@pytest.mark.timeout(LIMIT)
@pytest.mark.slow
def test_world(place):
    notebook = execute("world", place)
    check_quiet(notebook)
    said = "".join(outputs(notebook))
    assert "it left with code 75" in said and "pretrain goes on from its checkpoint at step" in said
    rows = rows_of(place / "work/world")
    qa2 = {key: values for key, values in rows.items() if key[1:3] == ("world_qa2", "f1")}
    check_scores(notebook, "qa2: scores", qa2, "world_qa2", "f1")
    assert len(outputs(notebook, "image/png")) >= 3
    codes = ("qnd", "qnr", "qms", "qda", "qdt")
    both = [rows_of(place / "work" / name) for name in ("world_less", "world")]
    less, full = (sum(one["multilingual", "world_qa2", "f1", code][0] for code in codes) / 5 for one in both)
    (cost,) = (text for text in outputs(notebook, "text/markdown") if text.startswith("**less minus quickstart**"))
    assert first_number(cost) == pytest.approx(less - full, abs=0.051)
    check_again("world", place, notebook, ("text/markdown",))


@pytest.mark.timeout(LIMIT)
@pytest.mark.slow
@pytest.mark.parametrize("real", [False, True])
def test_xlmr_base(place, real, request):
    more = {"XLING_DATA": str(request.getfixturevalue("data_dir").resolve())} if real else {}
    notebook = execute("xlmr_base", place, **more)
    check_quiet(notebook)
    task = "udpos" if real else "world_pos"
    check_scores(notebook, "tags: scores", rows_of(place / "work/xlmr_base/run"), task, "f1")
    work = place / "work/xlmr_base"
    assert {"model.safetensors", "config.json", "sentencepiece.bpe.model"} <= {
        p.name for p in (work / "published").iterdir()
    }
    (exported,) = (json.loads(path.read_text()) for path in work.glob("exported/*/config.json"))
    assert exported["architectures"] == ["XLMRobertaForTokenClassification"] and "NOUN" in exported["label2id"]
    assert len(outputs(notebook, "image/png")) >= 2
    check_again("xlmr_base", place, notebook, ("text/markdown", "image/png"), **more)


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize(
    ("name", "more", "says"),
    [
        ("xlmr_base", {"XLING_WEIGHTS": "nowhere/xlm-roberta-base"}, "nowhere/xlm-roberta-base has no config.json"),
        pytest.param("study", {"XLING_STUDY": "nowhere"}, "nowhere has no experiments", marks=pytest.mark.slow),
    ],
)
def test_a_folder_that_is_not_there_is_one_line(place, name, more, says):
    with pytest.raises(nbclient.exceptions.CellExecutionError) as found:
        execute(name, place, **more)
    assert found.value.ename == "Stopped" and says in found.value.evalue and "\n" not in found.value.evalue
    assert found.value.traceback.rpartition("------------------\n")[2].strip() == f"Stopped: {found.value.evalue}"
    assert not (place / "work").exists()
