"""The commands that the server and the command line share: checked parameters in, JSON-ready results out."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from gentg_blender.core.contract import EstimateSettings, GentgError
from gentg_blender.core.delivery import Delivery

from .estimate import Estimator
from .outputs import SUFFIXES, Outputs, staged
from .reporter import Reporter

_OUTPUTS = tuple(SUFFIXES)
_DELIVERY = tuple(f.name for f in fields(Delivery))


def estimate_command(estimator: Estimator, params: dict[str, Any], report: Reporter) -> dict[str, Any]:
    """`estimate` of docs/contract.md. Raises GentgError."""
    _known(params, "clip", "sequence_fps", "settings", "cache", "blender", *_OUTPUTS, *_DELIVERY)
    return estimator.estimate(
        _path(params, "clip"), _outputs(params), _settings(params), report,
        use_cache=bool(params.get("cache", True)), sequence_fps=_number(params, "sequence_fps"),
        blender=params.get("blender"), delivery=_delivery(params),
    )  # fmt: skip


def lift_command(estimator: Estimator, params: dict[str, Any], report: Reporter) -> dict[str, Any]:
    """`lift` of docs/contract.md. Raises GentgError."""
    _known(params, "keypoints", "capture", "settings", "cache")
    return estimator.lift_keypoints(
        _path(params, "keypoints"),
        _outputs(params),
        _settings(params),
        report,
        use_cache=bool(params.get("cache", True)),
    )


def people_command(estimator: Estimator, params: dict[str, Any], report: Reporter) -> dict[str, Any]:
    """`people` of docs/contract.md. Raises GentgError, writing nothing."""
    _known(params, "clip", "sequence_fps", "settings", "cache", "folder")
    clip, folder = _path(params, "clip"), None if params.get("folder") is None else _path(params, "folder")
    found = estimator.people(
        clip, _settings(params), report, use_cache=bool(params.get("cache", True)),
        sequence_fps=_number(params, "sequence_fps"),
    )  # fmt: skip
    people = [{"number": n, **person.to_dict()} for n, person in enumerate(found.people, 1)]
    if folder is not None:
        files = {str(p["number"]): folder / f"{clip.stem}_person{p['number']}.jpg" for p in people}
        with staged(files) as temporary:
            for entry, person in zip(people, found.people):
                temporary[str(entry["number"])].write_bytes(person.thumbnail)
        for entry in people:
            entry["thumbnail"] = str(files[str(entry["number"])])
    return {"people": people, "sampled": found.sampled, "image_size": list(found.image_size)}


def doctor_command(params: dict[str, Any]) -> dict[str, Any]:
    """`doctor` of docs/contract.md."""
    from .doctor import examine

    _known(params)
    return examine()


def _known(params: dict[str, Any], *names: str) -> None:
    unknown = sorted(set(params) - set(names))
    if unknown:
        raise GentgError("bad_request", f"unknown parameter: {', '.join(unknown)}")


def _path(params: dict[str, Any], name: str) -> Path:
    value = params.get(name)
    if not isinstance(value, str) or not value or "\0" in value:
        raise GentgError("bad_request", f"'{name}' must be a path")
    return Path(value).expanduser().absolute()


def _number(params: dict[str, Any], name: str) -> float | None:
    value = params.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise GentgError("bad_request", f"'{name}' must be a number")
    return None if value is None else float(value)


def _outputs(params: dict[str, Any]) -> Outputs:
    return Outputs(
        **{
            f.name: _path(params, f.name)
            for f in fields(Outputs)
            if f.name == "capture" or params.get(f.name) is not None
        }
    )


def _delivery(params: dict[str, Any]) -> Delivery:
    given = {name: params[name] for name in _DELIVERY if params.get(name) is not None}
    if not all(isinstance(value, str) and "\0" not in value for value in given.values()):
        raise GentgError("bad_request", f"{', '.join(_DELIVERY)} must be texts")
    return Delivery(**given).absolute()


def _settings(params: dict[str, Any]) -> EstimateSettings:
    values = params.get("settings", {})
    if not isinstance(values, dict):
        raise GentgError("bad_request", "'settings' must be an object")
    try:
        return EstimateSettings.from_dict(values)
    except TypeError as error:  # a text where a number belongs
        raise GentgError("bad_request", f"a setting has the wrong type: {error}") from error
