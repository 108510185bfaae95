"""The command line; its commands are in `eventnet.commands`.

Exit codes: 0 success, 1 the run failed, 2 bad usage.
"""

from __future__ import annotations

import click

from eventnet.bench.command import bench
from eventnet.commands import HELP, Commands
from eventnet.commands.data import data
from eventnet.commands.pictures import plot, report
from eventnet.commands.raster import raster
from eventnet.commands.run import run
from eventnet.commands.runs import compare, runs
from eventnet.commands.scenarios import graph, new, scenarios, schema
from eventnet.commands.sweep import sweep
from eventnet.reproduce.command import reproduce


@click.group(cls=Commands, context_settings=HELP)
@click.version_option(package_name="eventnet")
def main() -> None:
    """Exact, event-driven spiking networks that learn online from sensors at any rate.

    \b
    Examples:
      eventnet run drone                       the main job
      eventnet run drone --set hidden=100      with another parameter
      eventnet new my_robot                    a scenario of your own, in TOML
      eventnet graph drone -o drone.svg        its network, drawn
      eventnet runs                            what was run, and what came out
      eventnet report runs/drone-1             a page to look around in
      eventnet sweep drone --grid tau=0.04,0.08 --seeds 5   which parameters?
      eventnet reproduce fig1                  a figure of the paper
      eventnet bench                           how fast it is here
    """


for command in (run, runs, compare, new, schema, scenarios, graph, data, raster, plot, report):
    main.add_command(command)
for command in (sweep, reproduce, bench):
    main.add_command(command)
