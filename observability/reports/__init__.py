"""What the log lines say about a month, for people who do not read logs."""
