"""Stands in for `xling run`: ten steps, each kept in the work folder; goes on with what is there, saves when told to.

`count` and DONE are never ahead of `results.jsonl`; where they are, somebody else has torn the folder.

SCRIPT=, one of its words, says what happens: "slow" (0.1 s a step), "fail4" (exit code 4 at step 5), "again" (exit code
75 at step 5, once), "hang" (steps without end).
"""

import pathlib
import signal
import sys
import time

words = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
script, workdir = words.get("SCRIPT", ""), pathlib.Path(words["workdir"])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
workdir.mkdir(parents=True, exist_ok=True)
results = workdir / "results.jsonl"
step = len(results.read_text().splitlines()) if results.exists() else 0
count = workdir / "count"
counted = 10 if (workdir / "DONE").exists() else int(count.read_text()) if count.exists() else 0
if counted > step:
    print(f"error: {counted} steps are counted and {step} are there.", flush=True)
    sys.exit(4)
print(f"goes on from step {step}", flush=True)
while step < (10**6 if script == "hang" else 10):
    step += 1
    time.sleep(0.1 if script in ("slow", "hang") else 0.01)
    with results.open("a") as file:
        file.write(f"step {step}\n")
    (workdir / ".count").write_text(str(step))
    (workdir / ".count").replace(count)
    print(f"step {step}", flush=True)
    if asked:
        print(f"saved at step {step}", flush=True)
        sys.exit(75)
    if step == 5 and script == "fail4":
        print("error: the checkpoint is damaged.", flush=True)
        sys.exit(4)
    if step == 5 and script == "again":
        sys.exit(75)
(workdir / "DONE").touch()
