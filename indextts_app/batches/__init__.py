"""Batches: tables of requests that are worked off beside everything else, through every restart."""
