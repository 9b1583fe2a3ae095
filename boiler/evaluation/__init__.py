"""Evaluation: how good the neighbours are, measured by labels, alterations and feedback."""
