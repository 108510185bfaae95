"""The opponents at their best, one file a package; `benchmarks.environments` makes what they need."""
