"""Moments without training: from the vectors of frames and sentences of an image-text model."""
