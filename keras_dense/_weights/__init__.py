"""Weights of other projects: reading files, and mapping their names to layers."""
