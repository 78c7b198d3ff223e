"""Results that are served again: the same request gives the same audio, so it is made once."""
