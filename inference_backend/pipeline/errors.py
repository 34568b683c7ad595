"""From any exception to an error that a person can act on."""

from __future__ import annotations

import logging

from gentg_blender.core.contract import GentgError, os_error

_log = logging.getLogger(__name__)
_FULL = (28, 122)  # ENOSPC, EDQUOT
# What blender_manifest.toml leaves out of the extension: nobody who animates needs it.
ONLY_IN_A_CLONE = (
    "inference_backend.evaluation",
    "inference_backend.networks.baselines",
    "inference_backend.training",
)


def as_gentg_error(error: BaseException) -> GentgError:
    """Translate; what is a bug of ours becomes "internal" with its traceback in the log."""
    if isinstance(error, GentgError):
        if error.code != "cancelled":
            # `exc_info` for the cause: the message itself is told to the person.
            logging.getLogger("gentg.error").info("%s: %s", error.code, error, exc_info=error)
        return error
    if isinstance(error, KeyboardInterrupt):
        return GentgError("cancelled", "Cancelled.")
    _log.debug("translating", exc_info=error)
    logging.getLogger("gentg.error").error("%s", error, exc_info=error)
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith(ONLY_IN_A_CLONE):
        return GentgError(
            "missing_dependency",
            "The extension does not hold the code of this command.",
            hint="Run it in a clone of GenTG's repository.",
        )
    if isinstance(error, ModuleNotFoundError) and not (error.name or "").startswith(
        ("inference_backend", "gentg_blender")
    ):
        return GentgError(
            "missing_dependency",
            f"The Python package '{error.name}' is not installed.",
            hint="Set up the environment again: 'make' in a clone, Set Up Backend in Blender.",
        )
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return GentgError(
            "out_of_memory",
            "There is not enough memory.",
            hint="Close other programs, choose --quality fast or --device cpu, or a shorter range.",
        )
    if isinstance(error, OSError) and error.errno in _FULL:
        return os_error(error, error.filename or "")
    return GentgError(
        "internal",
        f"Something unexpected happened: {type(error).__name__}: {error}",
        hint="This is a bug of GenTG: please report it with the log file.",
    )
