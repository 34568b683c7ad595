"""Where live frames go: JSON lines, a recording, a preview film, datagrams. docs/live.md describes the forms."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from gentg_blender.core.contract import GentgError, atomic_file, os_error
from gentg_blender.core.skeleton import FEET, JOINT_PARENTS, JOINTS
from inference_backend.preview.draw import Figure, certainty_of, draw_figure, draw_label, planted_names
from inference_backend.video.write import VideoWriter

from .session import LiveFrame, Summary
from .sources import SourceFrame

LIVE_VERSION = 1
_DIGITS = 4  # of metres: a tenth of a millimetre
_HEADER_EVERY = 2.0  # seconds between two headers in datagrams, for those who begin to listen late


@dataclass(frozen=True)
class Stream:
    """What all frames of a stream share. `axes` is "world" or "camera"."""

    source: str
    axes: str
    layout: str
    image_size: tuple[int, int]
    K: np.ndarray
    weights: str  # SHA-256

    def header(self) -> dict[str, Any]:
        return {
            "type": "live", "version": LIVE_VERSION, "source": self.source, "axes": self.axes, "units": "metres",
            "names": list(JOINTS), "parents": JOINT_PARENTS.tolist(), "contact_names": list(FEET),
            "layout": self.layout, "image_size": list(self.image_size), "K": self.K.tolist(), "weights": self.weights,
        }  # fmt: skip

    def frame(self, frame: LiveFrame) -> dict[str, Any]:
        head = {
            "type": "frame", "frame": frame.index, "time": round(frame.time, 6),
            "status": "no_person" if frame.pose is None else "ok", "latency": round(frame.latency, 5),
        }  # fmt: skip
        if frame.pose is None:
            return head
        xyz = frame.pose.xyz if self.axes == "world" else frame.pose.xyz_camera
        return head | {
            "xyz": xyz.round(_DIGITS).tolist(), "sigma": frame.pose.sigma.round(_DIGITS).tolist(),
            "contacts": frame.pose.contacts.tolist(),
        }  # fmt: skip


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":")) + "\n"


class JsonLines:
    """A header, a line a frame, a summary; each is written at once. `stopped` is set when the reader has gone."""

    def __init__(self, stream: Stream, out: TextIO, stopped):
        self._stream, self._out, self._stopped, self._begun = stream, out, stopped, False

    def add(self, frame: LiveFrame, source_frame: SourceFrame) -> None:
        if not self._begun:
            self._begun = True
            self._write(self._stream.header())
        self._write(self._stream.frame(frame))

    def end(self, summary: Summary) -> None:
        self._write({"type": "end", **summary.to_dict()})

    def _write(self, value: dict[str, Any]) -> None:
        try:
            self._out.write(_line(value))
            self._out.flush()
        except BrokenPipeError:  # as with `| head`: not an error, and nothing more can be said there
            self._stopped.set()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._out.fileno())
            os.close(nowhere)
        except OSError as error:
            raise os_error(error, self._out.name) from error


class LinesFile(JsonLines):
    """JSON lines in a file, readable while it grows. Raises GentgError("not_writable")."""

    def __init__(self, stream: Stream, path: Path, stopped):
        try:
            super().__init__(stream, open(path, "w", encoding="utf-8"), stopped)
        except OSError as error:
            raise os_error(error, path) from error

    def end(self, summary: Summary) -> None:
        super().end(summary)
        self._out.close()


class Recording:
    """An .npz of the whole stream, written when it ends. It is also a keypoint file: `gentg lift` makes a take of it.

    It is held in memory until then, about 1.5 KB a frame.
    """

    def __init__(self, stream: Stream, path: Path):
        self._stream, self._path = stream, path
        self._frames: list[LiveFrame] = []
        self._points = 0

    def add(self, frame: LiveFrame, source_frame: SourceFrame) -> None:
        self._frames.append(frame)

    def end(self, summary: Summary) -> None:
        frames, s = self._frames, self._stream
        if not frames:
            return
        seen = np.array([f.pose is not None for f in frames])
        count = max((len(f.keypoints) for f in frames if f.keypoints is not None), default=0)
        if not count:
            from inference_backend.keypoints.layouts import layout_names

            count = len(layout_names(s.layout))
        nobody = np.zeros((count, 3))

        def stack(name: str, shape: tuple[int, ...]) -> np.ndarray:
            empty = np.full(shape, np.nan)
            return np.array([empty if f.pose is None else getattr(f.pose, name) for f in frames], np.float32)

        joints = len(JOINTS)
        arrays = dict(
            live_version=np.array(LIVE_VERSION), names=np.array(JOINTS), contact_names=np.array(FEET),
            timestamps=np.array([f.time for f in frames]), frames=np.array([f.index for f in frames]),
            latency=np.array([f.latency for f in frames]), seen=seen,
            xyz=stack("xyz", (joints, 3)), xyz_camera=stack("xyz_camera", (joints, 3)), sigma=stack("sigma", (joints,)),
            R=stack("R", (3, 3)), t=stack("t", (3,)),
            contacts=np.array([np.zeros(len(FEET), bool) if f.pose is None else f.pose.contacts for f in frames]),
            keypoints=np.array([nobody if f.keypoints is None else f.keypoints for f in frames], np.float32),
            layout=np.array(s.layout), image_size=np.array(s.image_size), K=s.K,
            meta=np.array(json.dumps({"source": s.source, "weights": s.weights, "summary": summary.to_dict()})),
        )  # fmt: skip
        with atomic_file(self._path) as temporary, open(temporary, "wb") as out:
            np.savez_compressed(out, **arrays)


class Preview:
    """An mp4 of the images with the skeleton over them; drawing and encoding take time of the same thread."""

    def __init__(self, stream: Stream, path: Path):
        self._stream, self._path = stream, path
        self._writer: VideoWriter | None = None

    def add(self, frame: LiveFrame, source_frame: SourceFrame) -> None:
        image = source_frame.image.copy()
        if frame.pose is not None:
            scale = np.array([image.shape[1], image.shape[0]]) / self._stream.image_size
            draw_figure(image, figure_of(frame, self._stream.K, scale))
        missing = "" if frame.pose is not None else "   no person"
        draw_label(image, f"{frame.time:.2f} s   {1000 * frame.latency:.0f} ms{missing}")
        if self._writer is None:
            self._writer = VideoWriter(self._path, (image.shape[1], image.shape[0]))
            self._writer.__enter__()
        self._writer.add(image, frame.time)

    def end(self, summary: Summary) -> None:
        if self._writer is not None:
            writer, self._writer = self._writer, None
            writer.__exit__(None, None, None)


def figure_of(frame: LiveFrame, K: np.ndarray, scale: np.ndarray) -> Figure:
    """The pose in an image whose sides are `scale` (2,) times those that `K` is for."""
    points = frame.pose.xyz_camera
    depth = np.maximum(points[:, 2], 0.05)
    pixels = (points[:, :2] / depth[:, None] * K[[0, 1], [0, 1]] + K[:2, 2]) * scale
    pixels[points[:, 2] < 0.05] = np.nan
    return Figure(JOINTS, pixels, points[:, 2], K[0, 0] * scale[0] / depth, certainty_of(frame.pose.sigma),
                  planted_names(frame.pose.contacts))  # fmt: skip


class Datagrams:
    """The JSON lines by UDP, one a datagram; the header comes again every two seconds."""

    def __init__(self, stream: Stream, host: str, port: int):
        """Raises GentgError("bad_request") if the host is not known."""
        self._stream, self._told = stream, -np.inf
        try:
            family, kind, protocol, _, self._address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[
                0
            ]
        except OSError as error:
            raise GentgError(
                "bad_request",
                f"The address {host}:{port} is not known: {error.strerror}.",
                hint="For a program on this machine: --udp 127.0.0.1:9763",
            ) from error
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setblocking(False)  # a full buffer loses a frame, as the network may: nothing waits

    def add(self, frame: LiveFrame, source_frame: SourceFrame) -> None:
        if time.monotonic() - self._told >= _HEADER_EVERY:
            self._told = time.monotonic()
            self._send(self._stream.header())
        self._send(self._stream.frame(frame))

    def end(self, summary: Summary) -> None:
        self._send({"type": "end", **summary.to_dict()})
        self._socket.close()

    def _send(self, value: dict[str, Any]) -> None:
        try:
            self._socket.sendto(_line(value).encode(), self._address)
        except (BlockingIOError, ConnectionRefusedError):
            pass  # nobody listens yet, or not fast enough: datagrams may get lost by their nature
        except OSError as error:
            raise GentgError(
                "bad_request", f"Nothing can be sent to {self._address[0]}: {error.strerror}."
            ) from error
