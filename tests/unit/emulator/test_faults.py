"""Planning trouble: scripts, probabilities, words."""

import attrs
import pytest

from sd3async.emulator.faults import RESULTS_PATH, Fault, FaultPlan, as_fault_plan, chance

CORE = "/v2beta/stable-image/generate/core"


def test_a_script_is_used_up_in_order() -> None:
    """Exact sequences are what tests of retries are made of."""
    plan = FaultPlan([Fault.status(500), None, Fault.reset()])

    met = [plan.strike(CORE, "a cat", 0.0) for _ in range(4)]

    assert met == [Fault.status(500), None, Fault.reset(), None]


def test_what_nobody_met_yet_is_told() -> None:
    """A test whose fault never struck has shown nothing."""
    plan = FaultPlan([Fault.status(500), None])
    plan.script([None, Fault.reset()], prompt="never asked for")
    unmet = [plan.unmet]
    plan.strike(CORE, "x", 0.5)
    unmet.append(plan.unmet)
    plan.clear()
    unmet.append(plan.unmet)

    assert unmet == [(Fault.status(500), Fault.reset()), (Fault.reset(),), ()]


def test_a_script_can_concern_one_prompt_or_path() -> None:
    """In a crowd of requests, the trouble has to find its own."""
    plan = FaultPlan()
    plan.script([Fault.reset()], prompt="a dog")
    plan.script([Fault.empty()], path="core")

    assert plan.strike("/x/ultra", "a cat", 0.0) is None
    assert plan.strike("/x/ultra", "a dog", 0.0) == Fault.reset()
    assert plan.strike(CORE, "a dog", 0.0) == Fault.empty()


def test_probabilities_share_the_unit_interval() -> None:
    """Each fault strikes with its own probability, and the rest pass."""
    plan = as_fault_plan({Fault.status(500): 0.1, Fault.reset(): 0.2})

    met = [plan.strike(CORE, "", draw / 100) for draw in range(100)]

    assert met.count(Fault.status(500)) == pytest.approx(10, abs=1)
    assert met.count(Fault.reset()) == pytest.approx(20, abs=1)
    assert met.count(None) == pytest.approx(70, abs=1)


@pytest.mark.parametrize("odds", [{Fault.reset(): -0.1}, {Fault.reset(): 0.6, Fault.html(): 0.5}])
def test_impossible_probabilities_are_refused(odds: dict[Fault, float]) -> None:
    """A sum above one would silently starve the last faults."""
    with pytest.raises(ValueError, match="probabilities"):
        FaultPlan(odds)


def test_clearing_forgets_scripts_and_odds() -> None:
    """Between two tests on one emulator nothing may be left over."""
    plan = FaultPlan({Fault.reset(): 1.0})
    plan.script([Fault.empty()])

    plan.clear()

    assert plan.strike(CORE, "", 0.0) is None


def test_a_plan_is_taken_as_it_is() -> None:
    """A plan made beforehand stays the one that a test holds on to."""
    plan = FaultPlan()

    assert as_fault_plan(plan) is plan


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("500", Fault.status(500)),
        ("502", Fault.status(502, page=True)),
        ("429", Fault.rate_limited()),
        ("reset", Fault.reset()),
        ("truncated", Fault.truncated(0.5)),
        ("slow:2.5", Fault.slow(2.5)),
        ("stall", Fault.stall(1.0)),
        ("gateway", Fault.from_gateway("new-api")),
        ("504:paid", Fault.status(504, page=True, paid=True)),
        ("524", Fault.status(524, page=True)),
        ("early", Fault.early(429)),
        ("early:413", Fault.early(413)),
        ("unread:9", Fault.unread(9.0)),
        ("interim", Fault.interim(100, 103)),
        ("finish_reason", Fault.finish_reason("ERROR")),
        ("failed", Fault.failed(500)),
    ],
)
def test_words_of_the_command_line(word: str, fault: Fault) -> None:
    """`--fault 500=0.05` has to mean what it says."""
    assert Fault.parse(word) == fault


@pytest.mark.parametrize(
    "word", ["", "200", "600", "explode", "reset:3", "slow:soon", "early:2", "429:paid"]
)
def test_unknown_words_are_refused(word: str) -> None:
    """A misspelt fault that never strikes would make a test pass for nothing."""
    with pytest.raises(ValueError, match=r"fault|soon"):
        Fault.parse(word)


def test_faults_are_values() -> None:
    """They are keys of a mapping of probabilities."""
    assert {Fault.truncated(0.5): 1}[Fault.truncated()] == 1
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Fault.reset().paid = False  # type: ignore[misc]
    with pytest.raises(ValueError, match="keep"):
        Fault.truncated(1.0)


def test_a_share_of_one_is_for_answers_without_a_length() -> None:
    """With a length it would be a whole answer, and the test would test nothing."""
    assert Fault.truncated(1.0, length="none").keep == 1.0
    for keep, length in [(1.0, "cut"), (1.0, "whole"), (1.1, "none"), (-0.1, "none")]:
        with pytest.raises(ValueError, match="keep"):
            Fault.truncated(keep, length=length)  # type: ignore[arg-type]  # of the table


def test_faults_before_the_body_wait_for_their_turn_and_their_time() -> None:
    """One script tells the order of both sorts; neither is met at the other's time."""
    plan = FaultPlan([Fault.early(), Fault.status(500), Fault.unread(1.0)])

    assert plan.strike(CORE, "a cat", 0.0) is None
    assert plan.strike(CORE, None, 0.0) == Fault.early()
    assert plan.strike(CORE, None, 0.0) is None
    assert plan.strike(CORE, "a cat", 0.0) == Fault.status(500)
    assert plan.strike(CORE, None, 0.0) == Fault.unread(1.0)
    assert plan.strike(CORE, None, 0.0) is None


def test_a_request_draws_one_lot_for_both_times() -> None:
    """Asked twice, a request must not meet trouble twice as often."""
    plan = FaultPlan({Fault.early(): 0.1, Fault.reset(): 0.2})

    assert plan.strike(CORE, None, 0.05) == Fault.early()
    assert plan.strike(CORE, "a cat", 0.05) is None
    assert plan.strike(CORE, None, 0.15) is None
    assert plan.strike(CORE, "a cat", 0.15) == Fault.reset()


def test_requests_for_results_take_only_from_scripts_that_name_them() -> None:
    """How often a client polls is up to it: a script for starts would strike by luck."""
    plan = FaultPlan([Fault.status(500)])
    plan.script([Fault.reset()], path="results")

    assert plan.strike(RESULTS_PATH, "", 0.0) == Fault.reset()
    assert plan.strike(RESULTS_PATH, "", 0.0) is None
    assert plan.strike(CORE, "a cat", 0.0) == Fault.status(500)


def test_a_prompt_cannot_choose_a_fault_before_the_body() -> None:
    """The script would wait for ever."""
    with pytest.raises(ValueError, match="prompt: nobody knows it before the body is read"):
        FaultPlan().script([None, Fault.early()], prompt="a cat")


def test_a_plain_429_locks_nobody_out() -> None:
    """`Fault.status(429)` is the bare status; `rate_limited` is the real thing."""
    assert not Fault.status(429).lock_out
    assert Fault.rate_limited().lock_out


def test_chance_depends_on_all_of_its_arguments() -> None:
    """Same seed, same run; different purposes must not correlate."""
    assert chance(1, 2, "a") == chance(1, 2, "a")
    assert len({chance(s, n, p) for s in (1, 2) for n in (1, 2) for p in "ab"}) == 8
