"""The generated world: languages with a grammar, events to speak of, and tasks over them.

It makes cross-lingual transfer measurable on a laptop without a download. `examples.py` is its door.
"""

from xling_jax.world.examples import VERSION, pieces, read

__all__ = ["VERSION", "pieces", "read"]
