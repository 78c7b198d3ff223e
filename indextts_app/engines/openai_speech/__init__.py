"""The engine `openai_speech`: any server of the OpenAI speech API, as its dialect wants it."""
