"""The servers that answer for a released artefact, each a process of its own with OpenAI's API."""
