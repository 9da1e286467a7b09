"""Where the runs of a sweep are computed, one executor per file."""
