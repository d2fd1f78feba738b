"""A rendered corpus: small films of coloured shapes with sentences about what they do."""

from demul_mm.rendered.corpus import arguments_of, render_corpus
from demul_mm.rendered.preview import contact_sheet

__all__ = ['arguments_of', 'contact_sheet', 'render_corpus']
