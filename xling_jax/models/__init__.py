"""Flax models. They name logical axes and never mention devices."""
