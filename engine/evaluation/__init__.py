"""From verdicts to a decision: pure functions, no files, no clock. Their types are in `engine.protocol.decision`."""
