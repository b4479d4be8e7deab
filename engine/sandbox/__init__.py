"""An offline stand-in for a service LLM: its one task is support-ticket triage."""
