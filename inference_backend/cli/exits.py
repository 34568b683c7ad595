"""Exit codes, also listed in docs/contract.md and in every command's help."""

from __future__ import annotations

from collections.abc import Iterable

CODES = {
    "bad_request": 2,
    "no_such_file": 3,
    "not_a_video": 4,
    "empty_video": 4,
    "no_person": 5,
    "bad_weights": 6,
    "bad_keypoints": 7,
    "not_writable": 8,
    "no_space": 8,
    "no_blender": 9,
    "blender_failed": 9,
    "missing_dependency": 10,
    "out_of_memory": 11,
    "internal": 1,
    "cancelled": 130,
}


def exit_code(errors: Iterable[str]) -> int:
    """The process's exit code for the error codes of all that failed: 0 for none, 1 for several kinds."""
    codes = {CODES[e] for e in errors}
    if 130 in codes:
        return 130
    return codes.pop() if len(codes) == 1 else int(bool(codes))
