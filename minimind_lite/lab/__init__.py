"""The Spike Lab: settings, a curve that answers at once, and spikes that open."""

from minimind_lite.lab.app import SpikeLab

__all__ = ["SpikeLab"]
