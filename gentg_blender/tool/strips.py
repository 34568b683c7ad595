"""Sequencer strips: which one is meant, what file it shows, and when."""

from __future__ import annotations

import ctypes
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import bpy

from ..core.contract import GentgError
from ..core.dna import Layout, read_dna
from ..core.strip import (
    TRANSITION,
    RetimingKey,
    SpeedEffect,
    StripSpan,
    StripTiming,
    sequence_start,
    strip_span,
)
from ..core.timing import scene_rate
from .compat import channelbag

NO_STRIP = "Add a video to the sequencer (Add > Movie) and select its strip."


@dataclass(frozen=True)
class ClipStrip:
    """A strip that can be estimated."""

    name: str
    clip: Path  # the movie, or the first image of a sequence
    span: StripSpan
    frame: int  # first scene frame of its keys
    image_sequence: bool
    warnings: tuple[str, ...] = ()


def sequencer_scene(context: bpy.types.Context) -> bpy.types.Scene:
    """The scene whose strips the sequencer shows: since 5.0 the workspace can name another one."""
    return getattr(context, "sequencer_scene", None) or context.scene


def shows_scene(context: bpy.types.Context) -> bool:
    """Whether the sequencer shows a scene at all; since 5.0 a new workspace's does not."""
    return not hasattr(context, "sequencer_scene") or context.sequencer_scene is not None


def selected_strips(context: bpy.types.Context) -> list[bpy.types.Strip]:
    """The selected movie and image strips in the order of their frames; else the active strip alone."""
    editor = sequencer_scene(context).sequence_editor
    if editor is None:
        return []
    shown = getattr(editor, "strips", None)
    meta = editor.meta_stack[-1].strips if len(editor.meta_stack) else shown
    chosen = [s for s in meta if s.select and s.type in ("MOVIE", "IMAGE")]
    if chosen:
        return sorted(chosen, key=lambda s: (_left(s), s.channel))
    return [_input_of(editor.active_strip)] if editor.active_strip else []


def _input_of(strip: bpy.types.Strip) -> bpy.types.Strip:
    """The strip under effects of one input, which people click on since they lie on top."""
    while getattr(strip, "input_count", 0) == 1 and strip.input_1 is not None:
        strip = strip.input_1
    return strip


def unusable_reason(strip: bpy.types.Strip | None) -> str:
    """Why a strip cannot be estimated, for the panel; empty if it can. Cheap: no file is opened."""
    if strip is None:
        return NO_STRIP
    if strip.type == "IMAGE":
        return (
            ""
            if len(strip.elements) > 1
            else "This strip is one still image; motion needs a movie or an image sequence."
        )
    if strip.type == "SOUND":
        return "This is the clip's sound. Select the movie strip beside it."
    if strip.type == "META":
        return "This is a meta strip. Enter it with Tab and select the movie strip inside."
    if strip.type == "SCENE":
        return "This strip shows a scene. Select a movie strip."
    if strip.type == "MOVIECLIP":
        return "This strip shows a movie clip data-block. Add the same file as a movie strip."
    if strip.type != "MOVIE":
        return f"This is a strip of the type {strip.type.replace('_', ' ').lower()}. Select a movie strip."
    return ""


def shown_frames(strip: bpy.types.Strip) -> tuple[int, int]:
    """First and last scene frame between a strip's handles."""
    return _left(strip), int(_get(strip, "right_handle", "frame_final_end")) - 1


def clip_strip(scene: bpy.types.Scene, strip: bpy.types.Strip | None) -> ClipStrip:
    """Everything about a strip that an estimate needs.

    `scene` is the one that the strip lies in. Raises GentgError with what to do for a strip that is none
    of a clip, a file that is missing, or timing that cannot be read.
    """
    reason = unusable_reason(strip)
    if reason:
        raise GentgError("bad_request", reason)
    image = strip.type == "IMAGE"
    clip = _path(scene, strip)
    timing = read_timing(scene, strip)
    span = strip_span(timing, speed_effects(scene, strip))
    warnings = list(_warnings(scene, strip, timing))
    return ClipStrip(strip.name, clip, span, int(span.time_map.first), image, tuple(warnings))


def read_timing(scene: bpy.types.Scene, strip: bpy.types.Strip) -> StripTiming:
    """A strip's timing in plain numbers. Raises GentgError("internal") if this Blender keeps it otherwise."""
    rate = scene_rate(scene.render.fps, scene.render.fps_base)
    layouts = _layouts()
    memory = _Struct(layouts["Sequence"], strip.as_pointer())
    image = strip.type == "IMAGE"
    source_rate = rate if image else _movie_rate(strip)
    length = int(memory["len"])
    start = _get(strip, "content_start", "frame_start")
    keys = _retiming_keys(memory, layouts["SeqRetimingHandle"])
    trim = int(_get(strip, "content_trim_start", "animation_offset_start"))
    if image:
        trim += _images_before(scene, strip)
    factor = _playback_factor(strip, length, source_rate / rate, float(start), keys)
    return StripTiming(
        content_start=float(start),
        left_handle=_left(strip),
        right_handle=int(_get(strip, "right_handle", "frame_final_end")),
        length=length,
        source_rate=source_rate,
        playback_factor=factor,
        trim_start=trim,
        reverse=bool(strip.use_reverse_frames),
        keys=keys,
        keys_to_last=bpy.app.version < (5, 0, 0),
    )


def _left(strip: bpy.types.Strip) -> int:
    return int(_get(strip, "left_handle", "frame_final_start"))


def _get(strip: bpy.types.Strip, new: str, old: str):
    """A property by its name of 5.2, or the one before, which 5.2 warns of."""
    return getattr(strip, new) if hasattr(strip, new) else getattr(strip, old)


def _movie_rate(strip: bpy.types.Strip) -> float:
    rate = float(strip.fps) or (float(strip.elements[0].orig_fps or 0.0) if len(strip.elements) else 0.0)
    if not rate > 0:
        raise GentgError(
            "not_a_video",
            "Blender cannot read the strip's clip.",
            file=bpy.path.abspath(strip.filepath),
            hint="Check the file, then reload the strip (Strip > Inputs > Reload Strips).",
        )
    return rate


def _playback_factor(strip, length: int, media: float, start: float, keys: tuple[RetimingKey, ...]) -> float:
    """1, or clip rate / scene rate where the strip was added with Adjust Playback Rate.

    Blender keeps that as a flag which Python does not show, but its effect is seen in the strip's length
    and in the places of its retiming keys.
    """
    for factor in (1.0, media):
        if keys:
            places = [start + k.frame / factor for k in keys]
            shown = [k.timeline_frame for k in strip.retiming_keys]
            if all(abs(a - b) <= 1.0 for a, b in zip(places, shown, strict=True)):
                return factor
        elif abs(length / factor - _get(strip, "content_duration", "frame_duration")) <= 1.0:
            return factor
    raise GentgError(
        "internal",
        "The strip's timing could not be understood.",
        hint="Clear its retiming (Strip > Retiming > Reset), or estimate the file from the 3D View's panel.",
    )


def clip_path(scene: bpy.types.Scene, strip: bpy.types.Strip) -> Path:
    """The clip's file or a sequence's first image, there or not; a strip of a linked scene counts from its library's
    folder. A proxy never is used."""
    library = scene.library
    if strip.type == "IMAGE":
        return Path(bpy.path.abspath(strip.directory, library=library)) / strip.elements[0].filename
    return Path(bpy.path.abspath(strip.filepath, library=library))


def _path(scene: bpy.types.Scene, strip: bpy.types.Strip) -> Path:
    """`clip_path`, refused where a file is missing."""
    path = clip_path(scene, strip)
    if strip.type == "IMAGE":
        missing = [e.filename for e in strip.elements if not (path.parent / e.filename).is_file()]
        if missing:
            raise GentgError(
                "no_such_file",
                f"{len(missing)} of the sequence's {len(strip.elements)} images are missing.",
                file=path.parent / missing[0],
                hint="Put them back, or point the strip to another folder.",
            )
        return path
    if not path.is_file():
        raise GentgError(
            "no_such_file",
            "The strip's clip is not there any more.",
            file=path,
            hint="Move it back, or choose the file in the strip's properties (Source > File).",
        )
    return path


def _images_before(scene: bpy.types.Scene, strip: bpy.types.Strip) -> int:
    """How many frames of the numbered sequence on disk come before the strip's first image."""
    base = Path(bpy.path.abspath(strip.directory, library=scene.library))
    try:
        on_disk = [entry.name for entry in os.scandir(base)]
    except OSError as error:
        raise GentgError(
            "no_such_file", "The folder of the image sequence is not there any more.", file=base
        ) from error
    try:
        return sequence_start([e.filename for e in strip.elements], on_disk)
    except GentgError as error:
        error.file = os.fspath(base)
        raise


def _warnings(scene: bpy.types.Scene, strip: bpy.types.Strip, timing: StripTiming):
    rate = scene_rate(scene.render.fps, scene.render.fps_base)
    played = timing.source_rate / timing.playback_factor
    if strip.type == "MOVIE" and abs(played - rate) > 0.01 * rate and not timing.keys:
        yield (
            f"The clip runs at {timing.source_rate:.4g} frames a second and the scene at {rate:.4g}, so the strip plays at "
            f"{rate / timing.source_rate:.2g} times its speed. The keys follow the strip."
        )


# --------------------------------------------------------------------------- speed effects

_SPEED_VALUE = {
    "MULTIPLY": "speed_factor",
    "LENGTH": "speed_length",
    "FRAME_NUMBER": "speed_frame_number",
}


def speed_effects(scene: bpy.types.Scene, strip: bpy.types.Strip) -> list[SpeedEffect]:
    """The Speed Control effects that decide when `strip` is seen, the nearest first.

    Raises GentgError("bad_request") for one whose value comes from a driver.
    """
    found = []
    while (effect := _effect_over(scene, strip)) is not None:
        if effect.type == "SPEED":
            found.append(_speed_effect(scene, effect))
        strip = effect
    return found


def _effect_over(scene: bpy.types.Scene, strip: bpy.types.Strip) -> bpy.types.Strip | None:
    """The effect that shows `strip`; of several the one on top."""
    over = [
        s
        for s in scene.sequence_editor.strips_all
        if not s.mute and strip in (getattr(s, "input_1", None), getattr(s, "input_2", None))
    ]
    return max(over, key=lambda s: s.channel, default=None)


def _speed_effect(scene: bpy.types.Scene, effect: bpy.types.Strip) -> SpeedEffect:
    left, last = shown_frames(effect)
    source = effect.input_1
    return SpeedEffect(
        name=effect.name,
        control=effect.speed_control,
        start=float(_get(effect, "content_start", "frame_start")),
        left_handle=left,
        right_handle=last + 1,
        input_length=int(_get(source, "content_duration", "frame_duration")),
        input_trim=float(_get(source, "left_handle_offset", "frame_offset_start")),
        values=_speed_values(scene, effect, range(left, last + 1)),
        reverse=bool(effect.use_reverse_frames),
        negative_from_end=bpy.app.version >= (5, 2, 0),
    )


def _speed_values(scene: bpy.types.Scene, effect: bpy.types.Strip, frames: range) -> tuple[float, ...]:
    """`SpeedEffect.values`: one, or one a frame where it is animated in the scene's action."""
    name = _SPEED_VALUE.get(effect.speed_control)
    if name is None:
        return ()
    path, data = effect.path_from_id(name), scene.animation_data
    if data is None:
        return (float(getattr(effect, name)),)
    if data.drivers.find(path) is not None:
        raise GentgError(
            "bad_request",
            f"The speed of the effect {effect.name} comes from a driver, which cannot be followed.",
            hint="Bake the driver to keys, or mute the effect.",
        )
    bag = channelbag(data.action, data.action_slot) if data.action and data.action_slot else None
    curve = bag.fcurves.find(path) if bag is not None else None
    if curve is None or curve.mute:
        return (float(getattr(effect, name)),)
    return tuple(float(curve.evaluate(f)) for f in frames)


# --------------------------------------------------------------------------- memory


class _Struct:
    """A struct of Blender's, read where it lies."""

    def __init__(self, layout: Layout, address: int):
        self.layout, self.memory = layout, ctypes.string_at(address, layout.size)

    def __getitem__(self, member: str) -> int | float:
        return self.layout[member].read(self.memory)


def _retiming_keys(strip: _Struct, layout: Layout) -> tuple[RetimingKey, ...]:
    """Python shows where the keys of a retimed strip stand, not which frame of the clip they show."""
    address, count = int(strip["retiming_handles"]), int(strip["retiming_handle_num"])
    if not address or count < 2:
        return ()
    keys = (_Struct(layout, address + i * layout.size) for i in range(count))
    return tuple(
        RetimingKey(
            float(k["strip_frame_index"]), float(k["retiming_factor"]), bool(int(k["flag"]) & TRANSITION)
        )
        for k in keys
    )


@lru_cache(maxsize=1)
def _layouts() -> dict[str, Layout]:
    """This Blender's own description of its structs, from a small file that it writes for us."""
    text = bpy.data.texts.new("gentg")
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "layouts.blend")
            bpy.data.libraries.write(path, {text}, compress=False)
            return read_dna(Path(path).read_bytes(), ("Sequence", "SeqRetimingHandle"))
    finally:
        bpy.data.texts.remove(text)
