"""Releases a run's model: writes it in the formats that servers take, proves each one as served, and serves it."""
