"""What a run takes on this machine, before it has run: calls and money from the data, times from a measurement."""
