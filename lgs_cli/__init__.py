"""Batch defense of images against localized adversarial noise."""

__version__ = "0.1.0"
