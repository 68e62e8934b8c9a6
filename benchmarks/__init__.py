"""Measurements, side by side: ``make benchmark SECTIONS="mining nce loading training rendering gpu feel"``."""
