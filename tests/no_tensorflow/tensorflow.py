"""Stands where TensorFlow would be found, first on the path of runs that must not import it: it ends them."""

raise SystemExit("TensorFlow is imported, which takes longer than preparing a small cell, and none of this needs it")
