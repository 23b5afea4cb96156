"""The cap: never overshot, whatever lands in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from sd3async.bulk import JobStats
from sd3async.bulk.sending.accounts import Accounts

PRICES = st.sampled_from([2.5, 3.0, 3.5, 4.0, 6.5, 8.0])


def test_without_a_cap_everything_fits() -> None:
    """No cap is not a cap of zero."""
    assert Accounts(JobStats(credits_spent=1e12)).fits(8.0)


@given(
    st.floats(0, 200).map(lambda cap: round(cap * 2) / 2),
    st.lists(st.tuples(PRICES, st.sampled_from(["paid", "free", "doubtful", "still flying"]))),
)
def test_spent_and_in_flight_never_exceed_the_cap(
    cap: float, requests: list[tuple[float, str]]
) -> None:
    """The bill must stay under the cap even if everything in flight succeeds."""
    accounts = Accounts(JobStats(), cap)
    for price, fate in requests:
        if not accounts.fits(price):
            continue
        accounts.began(price)
        assert booked(accounts) <= cap
        if fate == "still flying":
            continue
        accounts.left(price)
        if fate == "paid":
            accounts.delivered(1, price)
        elif fate == "doubtful":
            accounts.possibly_paid(1, price)

    assert booked(accounts) <= cap


def booked(accounts: Accounts) -> float:
    stats = accounts.stats
    return stats.credits_spent + stats.possibly_paid_credits + stats.credits_reserved


def test_an_image_that_several_items_share_is_paid_once() -> None:
    """Twins are done with it, and cost nothing."""
    accounts = Accounts(JobStats(total=3))
    accounts.delivered(3, 6.5)

    assert (accounts.stats.done, accounts.stats.credits_spent) == (3, 6.5)
    assert accounts.stats.unsent == 0
