"""How often and how soon dead workers are replaced."""

from __future__ import annotations

from torchgate.engine.supervisor import RestartBudget


def test_the_first_death_costs_no_wait_and_each_further_one_twice_the_last():
    budget = RestartBudget(5, 60.0, 0.25)
    assert [budget.died(float(now)) for now in range(5)] == [0.0, 0.25, 0.5, 1.0, 2.0]


def test_beyond_the_budget_there_is_no_replacement():
    budget = RestartBudget(2, 60.0, 0.25)
    assert [budget.died(1.0) for _ in range(3)] == [0.0, 0.25, None]
    assert budget.deaths(1.0) == 3


def test_deaths_are_forgotten_when_the_window_has_passed():
    budget = RestartBudget(1, 60.0, 0.25)
    assert budget.died(0.0) == 0.0
    assert budget.died(60.0) == 0.0
    assert budget.died(61.0) is None


def test_no_wait_is_longer_than_the_window():
    budget = RestartBudget(1000, 60.0, 0.25)
    assert max(budget.died(1.0) or 0.0 for _ in range(1000)) == 60.0
