"""Learning rules: one small file each, with its equation.

Every rule is here for the reference engine, in Python; `STDP`, `Past`, `Reconstruction` and `PairSTDP`
are compiled as well (`engine/learning.py`). A rule of your own is a subclass of `Rule` with one
method, `change`.
"""

from eventnet.plasticity.pair import PairSTDP
from eventnet.plasticity.past import Past
from eventnet.plasticity.reconstruction import Reconstruction
from eventnet.plasticity.rule import Rule
from eventnet.plasticity.stdp import STDP
from eventnet.plasticity.true_gradient import TrueGradient

__all__ = ["STDP", "PairSTDP", "Past", "Reconstruction", "Rule", "TrueGradient"]
