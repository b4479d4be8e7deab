"""Messages to people who are not at the terminal: what they say, and how they are sent."""
