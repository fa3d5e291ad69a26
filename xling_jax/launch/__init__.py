"""TPU slices by gcloud: made, used, watched over and deleted. `scripts/tpu.sh` is its door; the standard library does.

It runs on the user's machine, where nothing may be installed, and on the slice only through `scripts/tpu_host.sh`.
"""
