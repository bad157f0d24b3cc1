"""MiniMind Lite: reproduce, explain and diagnose the loss spikes of MiniMind fine-tuning."""

__version__ = "0.1.0"
