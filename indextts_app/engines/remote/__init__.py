"""What engines share that ask another server: the call, and a close look at its answer."""
