"""The take-over: one door with the service's API, behind which the small model takes over, with a way back."""
