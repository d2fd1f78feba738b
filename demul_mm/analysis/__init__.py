"""Measuring a trained model from the inside: what its parts carry, and what they cost."""
