"""Two processes in one folder: the second is refused, and a killed one holds nothing."""

import pytest
from harness import LIMIT, ended, results, start


@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT)
def test_one_of_two_is_refused(straight, tmp_path):
    """Started at the same moment, in a folder that is not there yet."""
    processes = [start(tmp_path / "work") for _ in range(2)]
    outputs = [process.communicate(timeout=LIMIT)[0] for process in processes]
    refused, other = sorted(zip(processes, outputs, strict=True), key=lambda pair: -pair[0].returncode)
    assert [refused[0].returncode, other[0].returncode] == [2, 0], outputs
    assert f"Another process is running in {tmp_path / 'work'}." in refused[1] and "Traceback" not in refused[1]
    assert results(tmp_path / "work") == results(straight)


@pytest.mark.slow
@pytest.mark.timeout(3 * LIMIT)
def test_a_killed_process_holds_nothing(straight, tmp_path):
    """The processes that read ahead for it end with it, and the folder is free."""
    first = start(tmp_path, "--config.readers=1")
    while "pretrain" not in first.stdout.readline():
        assert first.poll() is None
    first.kill()
    output = ended(start(tmp_path, "--config.readers=1"), 0)
    assert "Another process" not in output
    assert results(tmp_path) == results(straight)
