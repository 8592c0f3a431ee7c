"""tuneoff: a fair contest between fine-tuning methods."""

__version__ = "0.1.0"
