"""The command ``demul``: one's own videos, indexed and searched."""
