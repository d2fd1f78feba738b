"""A rendered corpus: small films of coloured shapes with sentences about what they do."""

from demul_mm.rendered.corpus import CorpusConfig, annotate, compose, render_corpus
from demul_mm.rendered.preview import contact_sheet

__all__ = ['CorpusConfig', 'annotate', 'compose', 'contact_sheet', 'render_corpus']
