"""The service LLM: asked within its limits, never paid twice for the same request."""
