#!/usr/bin/env python3
"""
API keys: make one, list their names, revoke one.

    scripts/api_key.py new shop          # prints the key, once; its hash goes into the file
    scripts/api_key.py list
    scripts/api_key.py revoke shop

A running service knows of it within a second of its next request.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import api_keys, settings

DEFAULT_FILE = Path("api_keys.txt")


def main() -> int:
    """Exit status 0 if it was done, 1 if it could not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[1])
    parser.add_argument(
        "--file", type=Path, help="file of the hashes (INDEXTTS_API_KEYS_FILE, else api_keys.txt)"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("new", help="make a key and print it").add_argument("name")
    commands.add_parser("list", help="print the names")
    commands.add_parser("revoke", help="take a key out of force").add_argument("name")
    chosen = parser.parse_args()
    try:
        configured = settings.load().api_keys_file
        file = chosen.file or configured or DEFAULT_FILE
        if chosen.command == "new":
            key = api_keys.add(file, chosen.name)
            sys.stderr.write(
                f"The key '{chosen.name}', shown this once; only its hash is kept, in {file}:\n"
            )
            print(key)
            if configured is None or file.resolve() != configured.resolve():
                sys.stderr.write(f"The service reads it with INDEXTTS_API_KEYS_FILE={file}\n")
        elif chosen.command == "revoke":
            api_keys.revoke(file, chosen.name)
        else:
            print(*(entry.name for entry in api_keys.read(file)), sep="\n")
    except (api_keys.KeysError, settings.SettingsError) as error:
        sys.stderr.write(f"api_key: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"api_key: {error.filename}: {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
