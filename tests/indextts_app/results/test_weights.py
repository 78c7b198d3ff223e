"""Promises of what tells one model's weights from another's."""

from __future__ import annotations

from pathlib import Path

from indextts_app.results.weights import END_BYTES, fingerprint


def test_weights_are_known_by_what_they_are_and_not_by_where(tmp_path: Path) -> None:
    """A copy is the same; a file that was trained on, renamed, added or cut is another model."""
    weights = b"0" * (3 * END_BYTES)
    for name in ("one", "copy"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "gpt.pth").write_bytes(weights)
        (tmp_path / name / "deep/config.yaml").write_text("version: 2.0\n")
    first = fingerprint(tmp_path / "one")
    assert first
    (tmp_path / "copy/.cache").mkdir()
    (tmp_path / "copy/.cache/gpt.pth.metadata").write_text("fetched on a Saturday\n")
    assert fingerprint(tmp_path / "copy") == first
    seen = {first}
    for change in (weights[:-1] + b"1", b"1" + weights[1:], weights + b"0", weights[:-9]):
        (tmp_path / "copy/gpt.pth").write_bytes(change)
        seen.add(fingerprint(tmp_path / "copy") or "")
    (tmp_path / "copy/gpt.pth").rename(tmp_path / "copy/other.pth")
    seen.add(fingerprint(tmp_path / "copy") or "")
    assert len(seen) == 6


def test_where_there_are_none_there_is_nothing_to_tell(tmp_path: Path) -> None:
    """The model is on another machine, say, or not there yet."""
    assert fingerprint(tmp_path) is None
    assert fingerprint(tmp_path / "missing") is None
