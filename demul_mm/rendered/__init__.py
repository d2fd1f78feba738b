"""A rendered corpus: small films of coloured shapes with sentences about what they do."""

from demul_mm.rendered.corpus import render_corpus
from demul_mm.rendered.preview import contact_sheet

__all__ = ['contact_sheet', 'render_corpus']
