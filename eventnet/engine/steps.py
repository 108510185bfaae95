"""What new steps change of a population in the compiled engine: when its neurons fire by themselves."""

from __future__ import annotations

import numpy as np

from eventnet.engine.arrays import SENSOR, Net, Scratch, State
from eventnet.engine.equations import (
    amplitudes,
    crossing,
    moved,
    schedule,
    sensor_next,
    sensor_period,
    sensor_residual,
)
from eventnet.engine.jit import Array, kernel
from eventnet.engine.kernels import step_of
from eventnet.engine.tournament import put


@kernel
def reschedule(t: float, p: int, steps: Array, net: Net, state: State, scratch: Scratch) -> None:
    """Let the neurons of population `p` encode by new steps from the instant `t` on, which has run.

    Residuals stay as they are, in spikes; they go on at another pace. What the old steps are is read
    from `net` and `state`.
    """
    record = net.population[p]
    if record.kind == SENSOR:
        reschedule_sensor(t, p, steps, net, state)
    elif record.local or (record.matched and not record.biased):
        return  # nothing happens between arrivals
    elif record.matched:
        a, due = net.first[p], np.inf
        for j in range(a, net.first[p + 1]):
            level = net.bias[j] * state.slope[j]
            drift = level / (record.tau * step_of(p, j, net, state))
            state.phi[j] += drift * (t - state.anchor[j])
            state.anchor[j] = t
            drift = level / (record.tau * steps[j - a])
            state.cross[j] = crossing(t, state.phi[j], record.theta, drift)
            due = min(due, state.cross[j], state.turn[j])
        state.population[p].due = due
    else:
        reschedule_curves(t, p, steps, net, state, scratch)


@kernel
def reschedule_sensor(t: float, p: int, steps: Array, net: Net, state: State) -> None:
    """Let the neurons of sensor `p` fire at new periods."""
    first, leaf = net.first[p], net.leaf_first[p]
    theta, tau = net.population[p].theta, net.population[p].tau
    for i in range(first, net.first[p + 1]):
        x = state.x[i]
        state.phi[i] = sensor_residual(state.phi[i], state.cross[i], t, state.period[i], theta, x)
        state.period[i] = sensor_period(x, tau, steps[i - first])
        state.cross[i] = sensor_next(t, state.phi[i], theta, state.period[i], x)
        put(state.tree, net.level_first, i - first + leaf, state.cross[i])


@kernel
def reschedule_curves(
    t: float, p: int, steps: Array, net: Net, state: State, scratch: Scratch
) -> None:
    """Let the residuals of layer `p` go on along curves that are steeper or flatter."""
    a, n = net.first[p], net.first[p + 1] - net.first[p]
    record = net.population[p]
    taus = net.group_tau[net.group_first[p] : net.group_first[p + 1]]
    amplitude, scaled = scratch.amplitude[: taus.shape[0]], scratch.scaled[: taus.shape[0]]
    clock = state.population[p].clock
    due = np.inf
    for j in range(a, a + n):
        place = net.trace_first[p] + j - a
        gain, bias = state.slope[j] / step_of(p, j, net, state), net.bias[j]
        state.phi[j] += moved(
            t, state.anchor[j], clock, gain, bias, record.tau, state.u, place, n, taus, amplitude
        )
        state.anchor[j] = t
        amplitudes(t, clock, state.u, place, n, taus, record.tau, amplitude)
        gain = state.slope[j] / steps[j - a]
        state.cross[j], state.side[j] = schedule(
            t, state.phi[j], record.theta, gain, bias, record.tau, amplitude, scaled, taus
        )
        due = min(due, state.cross[j], state.turn[j])
    state.population[p].due = due
