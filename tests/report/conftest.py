"""Work folders for the tests of the report."""

import json
from collections.abc import Callable

import pytest
from work_folders import RIGHT, Workdir, record, row

from xling_jax.results import write_results


@pytest.fixture(scope="session")
def make_workdir(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Workdir]:
    """Returns the maker of work folders, each a new one."""

    def make(folder: str = "work", repeat: int = 1, **changes) -> Workdir:
        workdir = Workdir(tmp_path_factory.mktemp("run") / folder)
        fields = record() | changes
        (workdir.path / "experiments").mkdir(parents=True)
        workdir.record(fields["name"]).write_text(json.dumps(fields))
        for (arm, seed), right in RIGHT.items():
            for language, marks in right.items():
                path = workdir.items(arm, seed, language)
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [{"id": str(n), "f1": [int(mark), 1]} for n, mark in enumerate(marks * repeat)]
                path.write_text("".join(json.dumps(line) + "\n" for line in lines))
            rows = [row(seed, language, 25.0 * marks.count("1")) for language, marks in right.items()]
            write_results(workdir.results(arm, seed), rows)
            losses = [{"step": step, "train/world_qa2/loss": 2.0 - step / 100} for step in (10, 50, 100)]
            workdir.metrics(arm, seed).write_text("".join(json.dumps(line) + "\n" for line in losses))
        return workdir

    return make
