"""A rendered corpus: small films of coloured shapes with sentences about what they do."""

from tools.data.rendered.corpus import CorpusConfig, annotate, compose, render_corpus
from tools.data.rendered.preview import contact_sheet

__all__ = ['CorpusConfig', 'annotate', 'compose', 'contact_sheet', 'render_corpus']
