"""The joint: an experiment becomes a graph of stages, and the stages are run."""
