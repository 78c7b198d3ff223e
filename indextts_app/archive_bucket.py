"""The bucket that the settings name for archives, and requests looked up in it."""

from __future__ import annotations

from indextts_app.settings import Settings
from observability.archive_remote import Bucket, S3Remote
from observability.archived_requests import ArchivedRequests


def archived_requests(settings: Settings) -> ArchivedRequests | None:
    """Looks requests up there, whichever service served them; None if no bucket is named."""
    if not settings.archive_bucket:
        return None
    return ArchivedRequests(lambda: archive_bucket(settings))


def archive_bucket(settings: Settings) -> S3Remote:
    """The bucket, with the days of every service that archives there; one must be named."""
    if settings.archive_bucket is None:
        raise ValueError("no bucket is named")
    access, secret = settings.archive_access_key, settings.archive_secret_key
    return S3Remote(
        Bucket(
            name=settings.archive_bucket,
            endpoint=settings.archive_endpoint,
            prefix=settings.archive_prefix,
            region=settings.archive_region,
            access_key=access.get_secret_value() if access else None,
            secret_key=secret.get_secret_value() if secret else None,
            addressing=settings.archive_addressing,
        )
    )
