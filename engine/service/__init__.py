"""Calls to the service LLM: within its limits, and never paid twice for the same request."""
