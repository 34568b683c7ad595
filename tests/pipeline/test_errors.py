"""Exceptions as errors that a person can act on."""

import errno

import pytest

from gentg_blender.core.contract import GentgError
from inference_backend.pipeline.errors import as_gentg_error


@pytest.mark.parametrize(
    "error, code, says",
    [
        (ModuleNotFoundError("No module named 'av'", name="av"), "missing_dependency", "'av'"),
        (
            ModuleNotFoundError("no", name="inference_backend.networks.baselines"),
            "missing_dependency",
            "clone of GenTG's repository",
        ),
        (ModuleNotFoundError("no", name="inference_backend.solve.gone"), "internal", "report"),
        (MemoryError(), "out_of_memory", "--quality fast"),
        (RuntimeError("CUDA out of memory. Tried"), "out_of_memory", "--device cpu"),
        (OSError(errno.ENOSPC, "No space left on device", "a.npz"), "no_space", "a.npz"),
        (KeyboardInterrupt(), "cancelled", "Cancelled"),
        (ZeroDivisionError("division by zero"), "internal", "ZeroDivisionError: division by zero"),
    ],
)
def test_what_people_are_told(error, code, says):
    told = as_gentg_error(error)
    assert told.code == code and says in str(told)


def test_our_own_errors_pass():
    own = GentgError("no_person", "nobody")
    assert as_gentg_error(own) is own
