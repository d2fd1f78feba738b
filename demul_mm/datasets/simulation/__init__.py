"""Stand-in features made from annotations alone."""

from demul_mm.datasets.simulation.simulator import FeatureSimulator, SimulationConfig
from demul_mm.datasets.simulation.text import PhraseEncoder

__all__ = ['FeatureSimulator', 'PhraseEncoder', 'SimulationConfig']
