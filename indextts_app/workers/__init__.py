"""Engines run here: supervised worker processes, one request at a time in each."""
