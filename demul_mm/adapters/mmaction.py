"""Make mmaction2 1.2.0 importable; see ``apply_mmaction_adapter``."""


def apply_mmaction_adapter() -> None:
    """Install what mmaction2 1.2.0 needs to import."""
