"""What a storage that gives no answer is, to whoever counts in it."""


class StoreUnavailableError(Exception):
    """No answer, or one that is no answer to what was asked; the message is for the log."""
