"""IndexTTS-2 and 2.5: the unmodified `indextts` package behind the contract of every engine."""
