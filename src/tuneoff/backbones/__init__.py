"""Backbones: load, quantize, run without padding, grow heads; and the built-in small ones."""
