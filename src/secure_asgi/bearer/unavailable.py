"""What was asked and did not answer: a token that could not be judged is not called invalid (BRR-8)."""


class UnavailableError(Exception):
    """Somebody who has to be asked about a token cannot be: the client is told 503, never 401.

    ``reason`` is a member of ``Reason``; ``wait`` seconds until it is worth asking again; the text is for the log.
    """

    def __init__(self, reason: str, why: str, wait: float = 1.0) -> None:
        super().__init__(why)
        self.reason = reason
        self.wait = wait
