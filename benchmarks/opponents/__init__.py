"""The opponents at their best, one file a package; each runs in a process and an environment of its own."""
