"""What happens while a storage gives no answer."""


class StoreUnavailableError(Exception):
    """No answer in time, or none to what was asked. The message is for the log, and holds no secret."""
