"""One training: a pure step, a short loop, and what the edges write."""
