"""The commands of ``demul``, by what they are about."""
