"""CONQUER's ranking over the best videos; see README.md."""

from projects.conquer.model import Conquer
from projects.xml import ExhaustiveTestLoop, WordProjection

__all__ = ['Conquer', 'ExhaustiveTestLoop', 'WordProjection']
