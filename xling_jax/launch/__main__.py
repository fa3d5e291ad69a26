"""`python -m xling_jax.launch VERB ...`, what `scripts/tpu.sh` starts."""

import sys

from xling_jax.launch.verbs import main

main(sys.argv[1:])
