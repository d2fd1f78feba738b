"""Loops of the Runner."""

from demul_mm.engine.loops.corpus_test import CorpusTestLoop

__all__ = ['CorpusTestLoop']
