"""Colours of the pictures."""

from matplotlib.colors import LinearSegmentedColormap

INK, FAINT, LINE = '#22262b', '#737b85', '#d9dde2'
TRUTH, PREDICTED, TERM = '#0f8a6a', '#3b67d6', '#a2abb6'
SHADES = LinearSegmentedColormap.from_list('likeness', ['#f5f6f8', '#f3c98b', '#c8501e', '#541a12'])
