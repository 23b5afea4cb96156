"""The cap: never overshot, whatever lands in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from sd3async.bulk.budget import Budget

PRICES = st.sampled_from([2.5, 3.0, 3.5, 4.0, 6.5, 8.0])


def test_without_a_cap_everything_fits() -> None:
    """No cap is not a cap of zero."""
    assert Budget(None, spent=1e12).fits(8.0)


@given(
    st.floats(0, 200).map(lambda cap: round(cap * 2) / 2),
    st.lists(st.tuples(PRICES, st.sampled_from(["paid", "free", "still flying"]))),
)
def test_spent_and_in_flight_never_exceed_the_cap(
    cap: float, requests: list[tuple[float, str]]
) -> None:
    """The bill must stay under the cap even if everything in flight succeeds."""
    budget = Budget(cap)
    for price, fate in requests:
        if not budget.fits(price):
            continue
        budget.reserve(price)
        assert budget.spent + budget.reserved <= cap
        if fate != "still flying":
            budget.settle(price, price if fate == "paid" else 0.0)

    assert budget.spent + budget.reserved <= cap
