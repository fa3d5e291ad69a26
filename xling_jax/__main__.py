"""`python -m xling_jax VERB`."""

from xling_jax.cli import main

main()
