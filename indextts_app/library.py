"""
What is kept for everybody: speakers, presets, the glossary, and the recordings behind them.

    <speaker_dir>/recordings/<sha256>.wav
    <speaker_dir>/speakers/<id>.json
    <speaker_dir>/presets/<id>.json
    <speaker_dir>/glossary.json

All of it is read once at start. The methods may block on the disk or on ffmpeg, and may be called
from any thread; what one of them has changed is on the disk when it returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from indextts_app import errors, references
from indextts_app.engines.base import Capabilities
from indextts_app.glossary import GlossaryStore
from indextts_app.kept_files import Recordings
from indextts_app.presets import NEVER_KEPT, Preset, PresetStore
from indextts_app.references import Reference, Upload
from indextts_app.settings import Settings
from indextts_app.speakers import SpeakerStore, StoredSpeaker
from indextts_app.synthesis import EMOTION_REFERENCE, REFERENCE, validated

log = structlog.get_logger("indextts_app.library")


class Library:
    """The stores below one folder, and what concerns more than one of them."""

    def __init__(
        self, settings: Settings, forgotten: Callable[[str], None] = lambda _speaker_id: None
    ) -> None:
        """
        Args:
            settings: where it lies, and its limits.
            forgotten: called with the id of each speaker that is removed.
        """
        self._settings = settings
        self._forgotten = forgotten
        self._references = settings.output_dir / "references"
        self._lock = threading.RLock()
        folder = settings.speaker_dir
        self.recordings = Recordings(folder / "recordings")
        self.speakers = SpeakerStore(
            folder / "speakers", self.recordings, max_speakers=settings.max_speakers
        )
        self.presets = PresetStore(folder / "presets", self.recordings)
        self.glossary = GlossaryStore(folder / "glossary.json")

    def accept(self, upload: Upload, name: str = REFERENCE) -> Reference:
        """
        The bounded copy of a recording that a client sent as the file `name`.

        Raises:
            errors.ReferenceRefused, errors.EmotionReferenceRefused: it cannot be used.
            errors.StorageFailed: the copy cannot be written.
        """
        return self._accepted(upload, name, self._references)

    def _accepted(self, upload: Upload, name: str, folder: Path) -> Reference:
        try:
            return references.accept(
                upload.path,
                folder,
                within=upload.folder,
                max_bytes=int(self._settings.max_upload_mb * 1e6),
            )
        except errors.ReferenceRefused as error:
            if name != EMOTION_REFERENCE:
                raise
            raise errors.EmotionReferenceRefused(**error.details) from None

    def add_speaker(
        self, name: object, description: object, upload: Upload, can: Capabilities
    ) -> StoredSpeaker:
        """
        A new speaker with the voice of a recording.

        Raises:
            errors.NotSupported: the engine in use clones no voices.
            errors.InvalidField, errors.KeepingFailed: see `SpeakerStore.add`, and `accept`.
        """
        if can.reference != "voice":
            raise errors.NotSupported(
                engine=can.engine,
                reason="it clones no voices, so that a speaker cannot be made. "
                "Use the engine indextts2.",
                reason_zh="它不克隆音色，无法新建发音人。请使用引擎 indextts2。",
            )
        self.speakers.check_room(name)
        with self._to_be_kept({REFERENCE: upload}) as accepted, self._lock:
            added = self.speakers.add(name, description, accepted[REFERENCE])
        log.info("library.changed", kind="speaker", id=added.id, change="added")
        return added

    def speaker(self, speaker_id: str) -> StoredSpeaker:
        """
        The speaker that is kept under this id.

        Raises:
            errors.UnknownSpeaker: there is none.
        """
        if found := self.speakers.find(speaker_id):
            return found
        raise errors.UnknownSpeaker("speaker", tuple(one.id for one in self.speakers.all()))

    def remove_speaker(self, speaker_id: str) -> None:
        """
        Forget a speaker, and its recording where nothing else refers to it.

        Raises:
            errors.StillUsed: it is built in, or a preset needs it.
            errors.NotKept, errors.KeepingFailed: see `SpeakerStore.remove`.
        """
        with self._lock:
            users = [p.id for p in self.presets.all() if p.fields.get("speaker") == speaker_id]
            if users and self.speakers.find(speaker_id):
                raise errors.StillUsed(
                    reason=f"presets need it ({', '.join(users[:5])}). Delete those first.",
                    reason_zh=f"预设 {', '.join(users[:5])} 正在使用，请先删除这些预设。",
                )
            self.speakers.remove(speaker_id)
            self._tidy()
        self._forgotten(speaker_id)
        log.info("library.changed", kind="speaker", id=speaker_id, change="removed")

    def add_preset(
        self,
        name: object,
        description: object,
        fields: Mapping[str, object],
        uploads: Mapping[str, Upload],
        can: Capabilities,
    ) -> Preset:
        """
        A new preset of a request's fields, which must fit the engine in use.

        Raises:
            errors.InvalidField: a field does not fit, see `validated` and `PresetStore.add`.
            errors.KeepingFailed: it cannot be written.
        """
        never = [field for field in NEVER_KEPT if fields.get(field) is not None]
        if never:
            raise errors.InvalidField(
                field=never[0],
                reason="a preset holds everything but this. Leave it out.",
                reason_zh="预设不保存该字段，请去掉。",
            )
        text = can.self_test_text
        validated({**fields, "text": text}, can, max_text_chars=len(text), recordings=uploads)
        if fields.get("speaker") == REFERENCE:
            # That is what its recording says already.
            fields = {field: value for field, value in fields.items() if field != "speaker"}
        with self._to_be_kept(uploads) as recordings, self._lock:
            # It may have gone while the recordings were read.
            speaker = fields.get("speaker")
            if can.reference == "voice" and isinstance(speaker, str):
                self.speaker(speaker)
            added = self.presets.add(name, description, fields, recordings)
        log.info("library.changed", kind="preset", id=added.id, change="added")
        return added

    def remove_preset(self, preset_id: str) -> None:
        """
        Forget a preset, and its recordings where nothing else refers to them.

        Raises:
            errors.NotKept, errors.KeepingFailed: see `PresetStore.remove`.
        """
        with self._lock:
            self.presets.remove(preset_id)
            self._tidy()
        log.info("library.changed", kind="preset", id=preset_id, change="removed")

    def borrow(self, sha256: str, until: ExitStack) -> Reference:
        """
        A kept recording, the built-in one's among them, which stays until the stack is closed.

        Raises:
            errors.InvalidField: it is gone.
        """
        if found := until.enter_context(self.recordings.borrowed(sha256)):
            return found
        if sha256 == self.speakers.all()[0].sha256:
            return self.speakers.sample()
        raise errors.InvalidField(
            field="speaker",
            reason="its recording is no longer there. Choose another speaker, or make it anew.",
            reason_zh="其录音已不存在，请选择其他发音人或重新创建。",
        )

    @contextmanager
    def _to_be_kept(self, uploads: Mapping[str, Upload]) -> Iterator[dict[str, Reference]]:
        """
        Bounded copies for as long as the block: what is kept lies in one place only.

        Otherwise the voice of a speaker would outlive it among the recordings of requests.
        """
        with ExitStack() as until:
            try:
                self._references.mkdir(parents=True, exist_ok=True)
                folder = TemporaryDirectory(dir=self._references, ignore_cleanup_errors=True)
                path = Path(until.enter_context(folder))
            except OSError as error:
                raise errors.StorageFailed(origin=type(error).__name__) from error
            yield {name: self._accepted(upload, name, path) for name, upload in uploads.items()}

    def _tidy(self) -> None:
        """Delete the recordings that nothing refers to, and what requests left of the same."""
        unwanted = self.recordings.keep_only(self.speakers.hashes() | self.presets.hashes())
        for sha256 in unwanted:
            with suppress(OSError):
                (self._references / f"{sha256}.wav").unlink(missing_ok=True)
