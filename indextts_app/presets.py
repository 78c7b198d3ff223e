"""
Presets: everything of a request but its text, under a name; recordings by their content.

A preset's fields are the defaults of a request that names it. What the request says itself goes
first, and whole: an emotion of its own replaces the preset's, whichever way that was given.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from indextts_app import errors, kept_files, naming
from indextts_app.kept_files import Recordings
from indextts_app.references import Reference
from indextts_app.synthesis import EMOTION_REFERENCE, RECORDINGS, REFERENCE

MAX_PRESETS = 1_000

NEVER_KEPT = ("text", "preset", "stream", "cache")
"""Fields that are of one request only."""

_EMOTION_SOURCES = ("emotion", "emotion_mode", "emotion_vector", "emotion_text")


@dataclass(frozen=True, slots=True)
class Preset:
    """A named set of fields, and the hashes of the recordings that belong to it, by field."""

    id: str
    name: str
    description: str
    fields: Mapping[str, object]
    recordings: Mapping[str, str]
    created: str
    """RFC 3339, UTC."""


def applied(
    preset: Preset, asked: Mapping[str, object], sent: Collection[str] = ()
) -> tuple[dict[str, object], dict[str, str]]:
    """
    The fields of a request that begins with a preset, and the preset's recordings that it needs.

    Args:
        preset: where the defaults come from.
        asked: the request's own fields; None is not sent.
        sent: names of the recordings that came with the request.
    """
    own = {name: value for name, value in asked.items() if value is not None}
    defaults = {**preset.fields, **preset.recordings}
    if EMOTION_REFERENCE in sent or any(name in own for name in _EMOTION_SOURCES):
        defaults = {
            name: value for name, value in defaults.items() if not name.startswith("emotion")
        }
    if REFERENCE in sent or "speaker" in own:
        defaults.pop("speaker", None)
        defaults.pop(REFERENCE, None)
    kept = {name: str(defaults.pop(name)) for name in RECORDINGS if name in defaults}
    return {**defaults, **own}, kept


class PresetStore:
    """
    The presets in a folder, read once.

    Safe to use from several threads; changes are on the disk when a method returns.
    """

    def __init__(self, folder: Path, recordings: Recordings) -> None:
        self._folder = folder
        self._recordings = recordings
        self._lock = threading.RLock()
        self._presets = _read(folder)

    def all(self) -> tuple[Preset, ...]:
        """Every preset, in the order in which they were made."""
        return tuple(self._presets.values())

    def get(self, preset_id: str) -> Preset:
        """
        The preset with this id.

        Raises:
            errors.NotKept: there is none.
        """
        if preset := self._presets.get(preset_id):
            return preset
        raise errors.NotKept(kind="preset", kind_zh="预设", where="GET /presets")

    def add(
        self,
        name: object,
        description: object,
        fields: Mapping[str, object],
        recordings: Mapping[str, Reference],
    ) -> Preset:
        """
        A new preset of fields that have been checked; the recordings are copied.

        Raises:
            errors.InvalidField: the name is none, or taken, or there are enough presets.
            errors.KeepingFailed: it cannot be written.
        """
        shown, told = naming.cleaned(name), naming.described(description)
        with self._lock:
            if any(naming.is_same(shown, known.name) for known in self._presets.values()):
                raise errors.NameTaken(kind="preset", kind_zh="预设")
            if len(self._presets) >= MAX_PRESETS:
                raise errors.LibraryFull(limit=MAX_PRESETS, kind="presets", kind_zh="预设")
            new = Preset(
                id=naming.new_id(shown, f"preset-{len(self._presets) + 1}", self._presets),
                name=shown,
                description=told,
                fields={
                    field: value
                    for field, value in fields.items()
                    if value is not None and field not in NEVER_KEPT
                },
                recordings={field: kept.sha256 for field, kept in recordings.items()},
                created=datetime.now(UTC).isoformat(),
            )
            for recording in recordings.values():
                self._recordings.keep(recording)
            content = {key: value for key, value in asdict(new).items() if key != "id"}
            kept_files.write(self._path(new.id), content)
            self._presets = {**self._presets, new.id: new}
        return new

    def remove(self, preset_id: str) -> None:
        """
        Forget a preset.

        Raises:
            errors.NotKept: there is none.
            errors.KeepingFailed: it cannot be deleted.
        """
        with self._lock:
            self.get(preset_id)
            kept_files.remove(self._path(preset_id))
            self._presets = {
                known: preset for known, preset in self._presets.items() if known != preset_id
            }

    def hashes(self) -> set[str]:
        """The recordings that presets refer to."""
        return {sha256 for preset in self.all() for sha256 in preset.recordings.values()}

    def _path(self, preset_id: str) -> Path:
        return self._folder / f"{preset_id}.json"


def _read(folder: Path) -> dict[str, Preset]:
    found = []
    for path in sorted(folder.glob("*.json")):
        content = kept_files.read(path)
        if content is None:
            continue
        if preset := _from_json(path.stem, content):
            found.append(preset)
        else:
            kept_files.unreadable(path, "not a preset")
    return {preset.id: preset for preset in sorted(found, key=lambda one: one.created)}


def _from_json(preset_id: str, content: Mapping[str, Any]) -> Preset | None:
    try:
        return Preset(
            id=preset_id,
            name=naming.cleaned(content["name"]),
            description=naming.described(content["description"]),
            fields={
                name: value
                for name, value in dict(content["fields"]).items()
                if name not in NEVER_KEPT
            },
            recordings={
                name: str(content["recordings"][name])
                for name in RECORDINGS
                if name in content["recordings"]
            },
            created=str(content["created"]),
        )
    except (errors.InvalidField, KeyError, TypeError, ValueError):
        return None
