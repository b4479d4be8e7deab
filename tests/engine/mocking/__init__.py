"""Providers on loopback, each in its own wire format, which keep the truth: what they were asked, what they bill."""
