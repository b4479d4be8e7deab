"""An offline stand-in for a service LLM: it knows one narrow task, support-ticket triage, and says so."""
