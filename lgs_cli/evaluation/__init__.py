"""Attacks on a model, and the table of what each defense saves."""
