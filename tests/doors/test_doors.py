"""What a user can do wrong: one clear error, the right exit code, nothing spoilt."""

import importlib.util
import pathlib
import shutil
import subprocess
import sys

import pytest

from xling_jax import cli
from xling_jax.experiment import as_json, from_config
from xling_jax.stages import run

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
    ("run", REAL, "--workdir=DIR"): (3, "no data folder was named"),
    ("run", REAL, "--workdir=DIR", "--data_dir=DIR/nowhere"): (3, "xnli/test-ar.tsv"),
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


def test_list_and_show(xling):
    code, out, _ = xling("data", "list")
    assert code == 0 and "udpos.test" in out and "0 of " in out and "there" in out
    code, out, _ = xling("data", "show", "world_pos.test.qdt")
    assert code == 0 and "300 examples" in out and "NOUN" in out and "generated" in out


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


def test_prepare_says_what_tokenising_does(xling, tmp_path):
    code, out, _ = xling("data", "prepare", QUICK, "--workdir=DIR/work")
    report = (tmp_path / "work/prepared/report.md").read_text(encoding="utf-8")
    cells = {path.name.rpartition("-")[0] for path in (tmp_path / "work/prepared").iterdir() if path.is_dir()}
    assert code == 0 and report in out
    assert cells and {line.split()[1] for line in report.splitlines()[2:] if line.startswith("|")} == cells
