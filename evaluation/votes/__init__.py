"""Blind votes: the study, its store, its statistics, its report."""
