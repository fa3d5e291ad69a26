"""Imports the seed before processes are started that must have the same one."""

import drawn  # noqa: F401
