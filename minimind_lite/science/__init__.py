"""Experiments declared before they run, their records, and verdicts computed from them."""
