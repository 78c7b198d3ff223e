"""`python -m indextts_app`: start the service, or say in one line why it cannot start."""

from __future__ import annotations

import sys

from indextts_app import settings


def main() -> int:
    """Exit status 0 after an orderly end, 2 if the settings do not allow a start."""
    try:
        if len(sys.argv) > 1:
            raise settings.SettingsError(
                "It takes no arguments, settings are INDEXTTS_* variables: more workers with "
                "INDEXTTS_WORKERS, another address with INDEXTTS_HOST and INDEXTTS_PORT."
            )
        chosen = settings.load()
        # Imported late: a mistyped setting should not have to wait for Gradio.
        from indextts_app import server

        server.run(chosen)
    except settings.SettingsError as error:
        sys.__stderr__.write(f"indextts: {error}\n") if sys.__stderr__ else None
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
