"""What a user can do wrong: one clear error, the right exit code, nothing spoilt."""

import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from xling_jax import cli
from xling_jax.experiment import as_json, from_config
from xling_jax.stages import run
from xling_jax.tables.tasks import parse_cells

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
QUICK = "--config=configs/quickstart.py:test"
REAL = "--config=configs/real_small.py:test"


@pytest.fixture
def xling(capsys, monkeypatch, tmp_path):
    """Returns a function of arguments to (exit code, standard output, standard error)."""
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("XLING_DATA", raising=False)

    def run(*argv):
        with pytest.raises(SystemExit) as left:
            cli.main([word.replace("DIR", str(tmp_path)) for word in argv])
        out, err = capsys.readouterr()
        return left.value.code, out, err

    return run


# what is typed -> (exit code, words of the error)
WRONG = {
    ("fly",): (2, "Unknown verb 'fly'"),
    ("run",): (2, "--config is not given"),
    ("run", QUICK): (2, "--workdir is not given"),
    ("run", QUICK, "--workdir=DIR", "--steps=3"): (2, "Unknown command line flag 'steps'"),
    ("run", "--config=configs/nothing.py", "--workdir=DIR"): (2, "--config does not load"),
    ("run", "--config=configs/quickstart.py:huge", "--workdir=DIR"): (2, "Unknown size 'huge'"),
    ("run", QUICK, "--workdir=DIR", "--config.modle=world"): (2, "Did you mean model"),
    ("run", QUICK, "--workdir=DIR", "--config.pretrain.steps=ten"): (2, "--config.pretrain.steps=ten"),
    ("run", QUICK, "--workdir=DIR", "--config.arms.englsh.stage=None"): (2, "Did you mean english"),
    ("run", QUICK, "--workdir=DIR", "--config.targets.pos.task=udpo"): (2, "Unknown task 'udpo'"),
    ("run", QUICK, "--workdir=DIR", "--config.targets.pos.languages=qnx"): (2, "Unknown language 'qnx'"),
    ("run", QUICK, "--workdir=DIR", "--config.mesh=pod"): (2, "Unknown mesh 'pod'"),
    ("run", QUICK, "--workdir=DIR", "--profile=0"): (2, "--profile=0 names no steps"),
    ("run", QUICK, "--workdir=DIR", "--profile_stages=pretrain"): (2, "--profile_stages is given without --profile"),
    ("run", QUICK, "--workdir=DIR", "--profile=3", "--profile_stages=pretrian"): (2, "Did you mean: pretrain"),
    ("run", QUICK, "--workdir=DIR", "--profile=3", "--jobs=2"): (2, "--profile is given with --jobs=2"),
    ("run", QUICK, "--workdir=DIR", "--profile=3", "--trials=2"): (2, "--profile is given with --trials=2"),
    ("run", QUICK, "--workdir=DIR", "--trials=0"): (2, "flag --trials=0"),
    ("run", QUICK, "--workdir=DIR", "--trials=2", "--config.mesh=fsdp"): (2, "'fsdp', divides parameters"),
    ("run", REAL, "--workdir=DIR"): (3, "no data folder was named"),
    ("run", REAL, "--workdir=DIR", "--data_dir=DIR/nowhere"): (3, "There is no data folder"),
    ("run", REAL, "--workdir=DIR", "--data_dir=DIR"): (3, "xnli/test-ar.tsv"),
    ("data", "list", "--data_dir=DIR/nowhere"): (3, "There is no data folder"),
    ("report",): (2, "0 work folders"),
    ("report", "DIR/nowhere"): (3, "nowhere"),
    ("data", "shw"): (2, "Did you mean: show"),
    ("data", "show"): (2, "takes one cell"),
    ("data", "show", "udpos.test"): (2, "is not a cell"),
    ("data", "show", "udpos.tset.ta"): (2, "Unknown split 'tset'"),
    ("doctor", "--data_dir=DIR/nowhere"): (2, "does not exist"),
}


@pytest.mark.parametrize("argv", WRONG, ids=" ".join)
def test_mistakes(xling, argv):
    code, words = WRONG[argv]
    left, _, err = xling(*argv)
    assert (left, words in err) == (code, True), err
    assert err.startswith("error: ") and "Traceback" not in err and len(err.splitlines()) <= 5


def test_another_config_is_kept_out_and_the_folder_stays(xling, tmp_path, monkeypatch):
    experiment = from_config(_quickstart())
    monkeypatch.setattr(run.Run, "prepare", lambda self: pytest.fail("it went on"))
    monkeypatch.setattr(run, "is_done", lambda *_: True)
    run.Run(experiment, tmp_path, None)()
    before = (tmp_path / "experiments" / "quickstart.json").read_text()
    code, _, err = xling("run", QUICK, "--workdir=DIR", "--config.pretrain.steps=21")
    assert code == 2 and "written by experiment 'quickstart' with another configuration" in err
    assert "Fields that differ: pretrain." in err
    assert (tmp_path / "experiments" / "quickstart.json").read_text() == before
    code, _, err = xling("run", REAL, "--workdir=DIR", "--data_dir=DIR")
    assert code in (2, 3)


def _quickstart():
    spec = importlib.util.spec_from_file_location("quickstart", ROOT / "configs" / "quickstart.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config("test").to_dict()


def test_a_broken_line_is_named_and_nothing_is_left(xling, tmp_path, data_dir):
    """A tag that does not exist, in a copy of a real file: the run stops there, and goes on once it is mended."""
    for name in ("xnli", "mnli", "squad", "udpos", "tatoeba"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / name).symlink_to(data_dir / name)
    (tmp_path / "data" / "extras").symlink_to(data_dir / "extras")
    (tmp_path / "data" / "udpos").unlink()
    shutil.copytree(data_dir / "udpos", tmp_path / "data" / "udpos", copy_function=shutil.copyfile)
    broken = tmp_path / "data" / "udpos" / "train-en.tsv"
    broken.parent.chmod(0o755)
    lines = broken.read_text().split("\n")
    lines[4] = lines[4].split("\t")[0] + "\tNUON"
    broken.write_text("\n".join(lines))
    code, _, err = xling("data", "prepare", REAL, "--workdir=DIR/work", "--data_dir=DIR/data")
    assert code == 3 and "train-en.tsv:5:" in err and "NUON" in err
    assert not list((tmp_path / "work" / "prepared").glob(".*"))


def test_dry_run_prints_the_plan_and_writes_nothing(xling, tmp_path):
    code, out, _ = xling("run", QUICK, "--workdir=DIR/work", "--dry_run")
    assert code == 0 and "pretrain-" in out and "then evaluates qa2" in out
    assert not (tmp_path / "work" / "stages").exists()


def test_list(xling):
    code, out, _ = xling("data", "list")
    assert code == 0 and "udpos.test" in out and "0 of " in out and "there" in out


def test_output_that_nobody_reads_to_its_end():
    command = [sys.executable, "-m", "xling_jax", "data", "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as program:
        program.stdout.close()
        assert program.stderr.read() == b"" and program.wait() == 0


def test_show_says_all_of_a_cell(xling, tmp_path):
    code, out, _ = xling("data", "show", "world_pos.test.qdt")
    assert code == 0 and "300 examples" in out and "NOUN" in out and "generated" in out
    assert "the generated world's vocabulary" in out and "0 labels" in out
    path = tmp_path / "ocnli" / "test.json"
    path.parent.mkdir()
    rows = [{"sentence1": f"今天下雨了{n}", "sentence2": "天气很好", "label": "-", "id": n} for n in range(30)]
    path.write_text("\n".join(map(json.dumps, rows)))
    code, out, _ = xling("data", "show", "ocnli.test.zh", "--data_dir=DIR")
    assert code == 0, out
    assert "30 examples of 3,000 published" in out and "withheld by the publisher" in out and "CC BY-NC 2.0" in out
    assert "without spaces between words" in out and "<s> 今 ##天" in out
    code, _, err = xling("data", "show", "ocnli.test.zh", "--data_dir=DIR", "--vocabulary=DIR/none.model")
    assert code == 2 and "none.model is not there" in err


def test_doctor_of_a_data_folder(xling, tmp_path, monkeypatch):
    monkeypatch.setattr("xling_jax.data.doctor.all_cells", lambda: list(parse_cells("udpos.test.ta+te")))
    code, out, err = xling("data", "doctor", "--data_dir=DIR")
    assert (code, err.strip()) == (0, "") and "0 cells are there, 2 missing, 0 broken." in out
    (tmp_path / "udpos").mkdir()
    (tmp_path / "udpos/test-ta.tsv").write_text("a\tNOUN\n")
    code, out, err = xling("data", "doctor", "--data_dir=DIR")
    assert code == 3 and "1 of 2 cells are broken" in err and "by its SHA-256" in out
    code, out, _ = xling("data", "doctor", "--data_dir=DIR", "--record=DIR/sums.tsv")
    assert code == 0 and (tmp_path / "sums.tsv").read_text().startswith("udpos/test-ta.tsv\t")
    code, out, _ = xling("data", "doctor", "--data_dir=DIR", "--checksums=DIR/sums.tsv", "--json")
    said = json.loads(out)
    assert code == 0 and said["broken"] == 0 and said["cells"][0]["examples"] == 1
    assert [cell["state"] for cell in said["cells"]] == ["there", "missing"]


def test_a_cell_asked_in_words(xling):
    code, out, _ = xling("data", "show", "xnli.test.th", f"--data_dir={ROOT}/tests/data/examples", "--prompts=mt5")
    assert code == 0
    assert "0 labels [2]: 0 </s>\n0 answers [3, 2]: 2 </s>\n  0 </s>\n  1 </s>" in out
    code, out, _ = xling("data", "prompts")
    assert code == 0 and out == (ROOT / "docs/prompts.md").read_text(encoding="utf-8")
    code, _, err = xling("data", "show", "xnli.test.th", f"--data_dir={ROOT}/tests/data/examples", "--prompts=t5")
    assert code == 2 and "mt5" in err and "plain" in err


def test_coverage(xling):
    code, out, _ = xling("data", "coverage")
    assert code == 0 and out == (ROOT / "docs/tasks.md").read_text(encoding="utf-8")


def test_help_is_quick_and_says_the_verbs():
    found = subprocess.run([sys.executable, "-m", "xling_jax", "--help"], capture_output=True, text=True, check=True)
    assert all(verb in found.stdout for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_help_of_a_verb(xling, verb):
    code, out, _ = xling(verb, "--help")
    assert code == 0 and f"xling {verb}" in out


def test_doctor(xling):
    code, out, _ = xling("doctor")
    assert code == 0 and "jax" in out and "Nothing needed is missing." in out


def test_configs_are_compared_by_value():
    assert as_json(from_config(_quickstart())) == as_json(from_config(_quickstart()))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
def test_memory_is_kept_from_step_to_step():
    """Buffers that are freed and made again cost no new pages."""
    program = (
        "import resource, sys, numpy\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "if len(sys.argv) > 1:\n"
        "    from xling_jax.heap import keep_memory\n"
        "    keep_memory()\n"
        "before = faults()\n"
        "for _ in range(20):\n"
        "    buffers = [numpy.full(2**24, 1, numpy.uint8) for _ in range(8)]\n"
        "    del buffers\n"
        "print(faults() - before)\n"
    )
    faults = [
        int(subprocess.run([sys.executable, "-c", program, *more], cwd=ROOT, check=True, capture_output=True).stdout)
        for more in ([], ["keep"])
    ]
    assert faults[1] < faults[0] / 3, faults


CALLS = """
import jax, jax.numpy as jnp
from xling_jax.doors import run

run.call_one_by_one()
x = jnp.ones((1500, 1500))
f = jax.jit(lambda x: x @ x @ x @ x)
f(x).block_until_ready()
print(all([f(x).is_ready() for _ in range(5)]))
"""


def test_a_program_of_a_cpu_has_ended_when_its_call_returns():
    """So it has given its memory back before the next one takes its own; by itself JAX returns at once."""
    program = CALLS.replace("run.call_one_by_one()", "")
    ended = [
        subprocess.run([sys.executable, "-c", each], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        for each in (CALLS, program)
    ]
    assert ended == ["True\n", "False\n"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc is Linux's")
@pytest.mark.parametrize(("verb", "given", "again"), [("run", "", True), ("doctor", "", False), ("eval", "x=1", False)])
def test_verbs_that_compute_start_with_huge_pages(monkeypatch, verb, given, again):
    """Once, as they were started; never where the user has told glibc something, and never from inside a program."""
    started, (name, value) = [], cli.TUNABLES
    monkeypatch.setattr(os, "execv", lambda path, argv: started.append((path, argv, os.environ[name])))
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "xling_jax", verb, "--help"])
    monkeypatch.setattr(sys, "argv", ["xling_jax", verb, "--help"])
    kept = {key: value for key, value in os.environ.items() if key != name}
    monkeypatch.setattr(os, "environ", kept | ({name: given} if given else {}))
    for arguments in ((), (["run", "--help"],), ()):
        with pytest.raises(SystemExit):
            cli.main(*arguments)
    assert started == [(sys.executable, [sys.executable, "-m", "xling_jax", verb, "--help"], value)] * again
    assert os.environ.get(name, "") == (value if again else given)


def test_prepare_says_what_tokenising_does(xling, tmp_path):
    code, out, _ = xling("data", "prepare", QUICK, "--workdir=DIR/work")
    report = (tmp_path / "work/prepared/report.md").read_text(encoding="utf-8")
    cells = {path.name.rpartition("-")[0] for path in (tmp_path / "work/prepared").iterdir() if path.is_dir()}
    assert code == 0 and report in out
    assert cells and {line.split()[1] for line in report.splitlines()[2:] if line.startswith("|")} == cells
