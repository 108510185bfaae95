"""How fast is it? Contestants that do the same work, timed in turn on one core.

`eventnet bench` runs those that need no other package (`command`); `benchmarks/` in a checkout adds
PyTorch, JAX, Brian2 and others, and the sections of docs/results/benchmarks.md.

A contestant does one repetition of its work at a time in a process of its own (`worker`), and all
alternate, A B C A B C ..., so that what else the machine does falls on all alike (`workers.interleave`).
Building, compiling and scoring are not in the times of repetitions.
"""
