"""Shipped weights: safetensors with their configuration, checked against weights/manifest.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from gentg_blender.core.contract import GentgError, atomic_file
from inference_backend.networks.gpc import GPC, GPCConfig
from inference_backend.networks.tgt import TGT, TGTConfig

FOLDER = Path(__file__).resolve().parent.parent / "weights"
_KINDS: dict[str, tuple[type, type]] = {"tgt": (TGT, TGTConfig), "gpc": (GPC, GPCConfig)}
_MEND = "Reinstall GenTG, or restore the file from the repository; `gentg doctor` lists the models."


@dataclass(frozen=True)
class Loaded:
    """A network ready to run, with what its file says about it."""

    model: nn.Module
    sha256: str
    info: dict[str, Any]


def sha256_of(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def save_weights(path: Path, kind: str, model: nn.Module, info: dict[str, Any]) -> str:
    """Write half-precision weights and enter their hash into the folder's manifest. -> the hash."""
    tensors = {k: v.detach().cpu().half().contiguous() for k, v in model.state_dict().items()}
    meta = {"kind": kind, "config": json.dumps(asdict(model.config)), "info": json.dumps(info)}
    with atomic_file(path) as temporary:
        save_file(tensors, temporary, metadata=meta)
    manifest = path.parent / "manifest.json"
    table = json.loads(manifest.read_text(encoding="utf-8")) if manifest.is_file() else {}
    table[path.name] = {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    with atomic_file(manifest) as temporary:
        temporary.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return table[path.name]["sha256"]


def load_weights(kind: str, device: torch.device | str = "cpu", path: Path | None = None) -> Loaded:
    """The network of `kind` in evaluation mode. Raises GentgError("bad_weights") naming the file.

    Without `path` the shipped file is taken and must match the manifest's hash.
    """
    shipped = path is None
    path = path or FOLDER / f"{kind}.safetensors"
    if not path.is_file():
        raise GentgError("bad_weights", f"The weights of {kind.upper()} are missing.", file=path, hint=_MEND)
    digest = sha256_of(path)
    if shipped and digest != _manifest_hash(path):
        raise GentgError(
            "bad_weights",
            f"The weights of {kind.upper()} are damaged: their hash is not the one they were shipped with.",
            file=path,
            hint=_MEND,
        )
    network, config_class = _KINDS[kind]
    try:
        with safe_open(str(path), framework="pt") as stream:
            meta = stream.metadata() or {}
            state = {k: stream.get_tensor(k).float() for k in stream.keys()}  # noqa: SIM118
        if meta.get("kind") != kind:
            raise ValueError(f"they are weights of {meta.get('kind')!r}")
        model = network(config_class(**json.loads(meta["config"])))
        model.load_state_dict(state)
        info = json.loads(meta.get("info", "{}"))
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise GentgError(
            "bad_weights", f"The weights of {kind.upper()} cannot be used: {error}", file=path, hint=_MEND
        ) from error
    return Loaded(model.eval().requires_grad_(False).to(device), digest, info)


def _manifest_hash(path: Path) -> str:
    try:
        return json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))[path.name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GentgError(
            "bad_weights",
            "The list of the models' hashes is missing or damaged.",
            file=path.parent / "manifest.json",
            hint=_MEND,
        ) from error
