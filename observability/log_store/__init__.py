"""Questions to the log lines, answered from the files of this machine."""
