"""Seeded data for the fakes: a consulting firm's clients, projects, people and weeks of time, with the dirt of real ones.

The same seed and size give the same data, told as of one fixed day. Firms and people are made up from word lists.
"""

from connectors.sandbox.seed.story import fill

__all__ = ["fill"]
