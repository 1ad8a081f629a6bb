"""The crew: whose turn it is, and what becomes of a task and its process."""

import os
import signal

import chores
import psutil
import pytest
from panels import Job, until

import deepdream as dd
from deepdream.studio import tasks, turns
from deepdream.studio.turns import Crew


def test_first_come_first_served(tmp_path):
    crew, gates = Crew(2), [tmp_path / str(i) for i in range(5)]
    jobs = []
    for gate in gates:
        jobs.append(Job(crew, chores.wait, gate))
        until(lambda: jobs[-1].reports or jobs[-1].places)
    until(lambda: jobs[1].reports)
    assert [job.places[-1:] for job in jobs] == [[], [], [1], [2], [3]]
    jobs[3].stopping.set()
    assert isinstance(jobs[3].ends(), tasks.StoppedError)
    until(lambda: jobs[4].places[-1] == 2)
    gates[1].touch()
    until(lambda: jobs[2].reports and jobs[4].places[-1] == 1)
    assert not jobs[4].reports and jobs[1].ends() is True, "two at once"
    gates[0].touch()
    until(lambda: jobs[4].reports)
    jobs[2].stopping.set()
    gates[4].touch()
    assert [job.ends() for job in jobs if job is not jobs[3]] == [True, True, False, True]
    assert not jobs[3].reports and not crew.waiting and not crew.working


def test_who_does_not_wait_gives_way(tmp_path):
    crew, gates = Crew(1), [tmp_path / str(i) for i in range(4)]
    shy = Job(crew, chores.wait, gates[0], gives_way=True)
    until(lambda: shy.reports)
    first = Job(crew, chores.wait, gates[1])
    assert shy.ends() is False, "it was stopped"
    until(lambda: first.reports)
    shy = Job(crew, chores.wait, gates[2], gives_way=True)
    until(lambda: crew.giving_way)
    second = Job(crew, chores.wait, gates[3])
    until(lambda: second.places)
    gates[1].touch()
    until(lambda: second.reports)
    assert not shy.reports, "the other came later, and goes first"
    for gate in gates:
        gate.touch()
    assert first.ends() is second.ends() is shy.ends() is True and not crew.giving_way


def test_a_task_has_so_many_minutes(tmp_path, monkeypatch):
    crew = Crew(1, 0.01)
    late = Job(crew, chores.wait, tmp_path / "never")
    assert late.ends() is False and late.reports["late"] == ", because only 1 s are allowed here"
    monkeypatch.setattr(turns, "GRACE", 0.3)
    late = Job(crew, chores.go_on)
    assert "it did not stop in time, and was ended" in str(late.ends())
    assert not psutil.pid_exists(late.reports["pid"])


@pytest.mark.parametrize("how, code", [("kill", -9), ("abort", -6), ("exit", 3)])
@pytest.mark.parametrize("is_told", [False, True])
def test_a_process_that_dies_harms_nobody(how, code, is_told):
    crew = Crew(1)
    job = Job(crew, chores.die, how, is_told)
    if is_told:
        until(lambda: job.reports)
        job.stopping.set()
    memory = ", perhaps because there was not enough memory; lower the width" * (code == -9)
    assert (
        isinstance(job.ends(), dd.DreamError)
        and str(job.answer) == f"the process that dreamt ended with {code}{memory}"
    )
    assert crew.run_now(chores.eat, 1) > 0


def test_a_process_that_is_killed_from_outside(tmp_path):
    crew = Crew(1)
    job, second = Job(crew, chores.wait, tmp_path / "never"), Job(crew, chores.eat, 1)
    until(lambda: job.reports)
    os.kill(job.reports["pid"], signal.SIGKILL)
    assert "the process that dreamt ended with -9" in str(job.ends())
    assert second.ends() > 0


def test_what_a_task_raises_comes_back():
    crew = Crew(1)
    for error in (
        dd.DreamError("{setting} is 3", "width"),
        KeyError("x"),
        ConnectionError("x"),
        EOFError("x"),
    ):
        with pytest.raises(type(error)) as raised:
            crew.run_now(chores.fail, error)
        assert raised.value.args == error.args and getattr(raised.value, "setting", 0) == getattr(
            error, "setting", 0
        )
    with pytest.raises(RuntimeError, match=r"DreamError.*lambda"):
        crew.run_now(chores.fail_strangely)


def test_nothing_remains_of_a_task():
    crew, me = Crew(2), psutil.Process()
    crew.run_now(chores.eat, 1)  # the forkserver remains

    def ours():
        return {child.pid: child.memory_info().rss for child in me.children(recursive=True)}

    before, own = ours(), me.memory_info().rss
    jobs = [
        Job(crew, chores.eat, 300),
        Job(crew, chores.fail, KeyError()),
        Job(crew, chores.die, "kill"),
    ]
    assert jobs[0].ends() > 300 << 20
    for job in jobs:
        job.ends()
        assert job.reports["pid"] not in ours()
    assert ours().keys() == before.keys() and not crew.working
    assert sum(ours().values()) + me.memory_info().rss < sum(before.values()) + own + (100 << 20)


def test_a_crew_without_a_forkserver(monkeypatch):
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])  # Windows
    assert Crew(1).run_now(chores.eat, 1) > 0
