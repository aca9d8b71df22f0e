"""Which refusals are worth a line in the log: strangers must not be able to fill it. Pure."""

LOGGED_A_MINUTE = 100


class Refusals:
    """Lets each token through once a minute, and no more than so many a minute."""

    def __init__(self) -> None:
        self._since = 0.0
        self._told: set[str] = set()

    def is_news(self, hash: str, now: float) -> bool:
        """Whether to log a refusal of that token's digest at `now`, in seconds by any clock: one that goes back starts
        another minute."""
        if not 0 <= now - self._since < 60:
            self._since = now
            self._told.clear()
        if hash in self._told or len(self._told) >= LOGGED_A_MINUTE:
            return False
        self._told.add(hash)
        return True
