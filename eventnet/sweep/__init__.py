"""Sweeps: many runs of one scenario, over a grid of parameters or searched, on all cores or a cluster.

`axes` reads what is varied, `point` runs one point on a worker, `search` asks Optuna, `cluster` hands
points out, `folder` keeps what comes back, `front` compares it.
"""
