"""What a compiler says when a program is too large; and, where libtpu is installed, what it says of the big rows."""

import dataclasses

import pytest

from xling_jax.errors import ConfigError
from xling_jax.planner import compiled as compiled_module
from xling_jax.planner.compiled import compile_for, too_large
from xling_jax.tables.slices import slice_of

MESSAGE = (
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory required for HLO "
    "temporaries (19.84G) exceeds available HBM (15.75G). HLO module: jit_step."
)


def test_a_program_that_does_not_fit():
    found = too_large(MESSAGE, 3.7)
    assert found is not None and not found.fits and found.peak == round(19.84 * 2**30) and found.seconds == 3.7
    assert too_large("INTERNAL: RET_CHECK failure", 1.0) is None
    assert too_large(MESSAGE.replace("RESOURCE_EXHAUSTED", "INTERNAL"), 1.0) is None


class Refused:
    """Stands in for a lowered program."""

    def __init__(self, message):
        self._message = message
        self.options = None

    def as_text(self):
        return "module"

    def compile(self, compiler_options):
        self.options = compiler_options
        raise compiled_module.jax.errors.JaxRuntimeError(self._message)


def test_a_refusal_is_an_answer_or_an_error(tmp_path):
    where = slice_of("v5e-8")
    lowered = Refused(MESSAGE)
    found = compile_for(lowered, where, effort="fast", cache=tmp_path)
    assert not found.fits and lowered.options == compiled_module.FEWER
    assert compile_for(Refused("never asked"), where, effort="fast", cache=tmp_path) == found, "it was kept"
    with pytest.raises(ConfigError, match=r"refuses the program for v5e-8: INTERNAL: no such layout"):
        compile_for(Refused("INTERNAL: no such layout\nmore"), where, effort="full")


def test_what_decides_a_result(tmp_path):
    where, lowered = slice_of("v5e-8"), Refused(MESSAGE)
    address = compiled_module._address
    known = {
        address(lowered, where, "fast", 1),
        address(lowered, where, "full", 1),
        address(lowered, where, "fast", 2),
        address(lowered, slice_of("v5e-16"), "fast", 1),
        address(lowered, dataclasses.replace(where, chip=dataclasses.replace(where.chip, memory=1)), "fast", 1),
    }
    assert len(known) == 5 and address(lowered, where, "fast", 1) in known
