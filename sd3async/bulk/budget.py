"""The cap: what is in flight counts as spent, so that it cannot be overshot by landing."""


class Budget:
    """Credits that a job may spend. Prices are multiples of half a credit: sums are exact.

    Args:
        cap: Most to spend, over all runs of the job [credits]; None for no cap.
        spent: Spent by earlier runs, what is possibly paid included [credits].
    """

    def __init__(self, cap: float | None, spent: float = 0.0) -> None:
        self.cap = cap
        self.spent = spent
        self.reserved = 0.0

    def fits(self, price: float) -> bool:
        """Whether one more request can be paid, should all that is in flight succeed.

        Args:
            price: Its price [credits].
        """
        return self.cap is None or self.spent + self.reserved + price <= self.cap

    def reserve(self, price: float) -> None:
        """Set aside the price of a request that is about to be sent."""
        self.reserved += price

    def settle(self, price: float, spent: float) -> None:
        """Give back what was set aside, and book what was really, or possibly, spent.

        Args:
            price: What was set aside [credits].
            spent: What it came to [credits].
        """
        self.reserved -= price
        self.spent += spent
