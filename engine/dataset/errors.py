"""What is wrong with one record; the others are not concerned."""


class RowError(Exception):
    """A record that cannot be used; its text is the reason."""
