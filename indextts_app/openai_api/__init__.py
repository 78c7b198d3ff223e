"""Speech as OpenAI's API has it, so that a client of theirs speaks with the engine in use."""
