"""Contract double – the model itself was never run. See `pipelines`."""
