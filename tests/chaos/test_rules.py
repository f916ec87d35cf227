"""The checker itself: a history that is as it should be passes, and one with a
single lie for each rule is caught, by that rule."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "support"))
sys.argv.insert(1, "")  # main() takes tests' names from the second on
from history import BURIED, FINAL, LATER, POISON, UNIQUE, History
from program import equal, main
from rules import Checker, Promise

REST = """
9000000 counts 0 0 0 {dead} {done} 0
9000001 looked 1
"""

# A task that is enqueued, run, and done.
PRODUCER = """
1000 open p1 1
1001 try a 0 0 0 - -
1002 ack a 1
"""
WORKER = """
1000 owner w:1
2000 got a 50 1 25 1990
2001 run a 50
2002 fin a 50 0
2003 done a 50 1
"""
STATE = """
8000000 state a done 50 1
"""


def check(*logs, promise=None, done=1, dead=0):
    history = History.of_lines(*logs, REST.format(done=done, dead=dead))
    checker = Checker(history, promise)
    checker.check()
    return checker


def passes(*logs, **options):
    equal(check(*logs, **options).violations, [])


def caught(rule, *logs, **options):
    """By this rule; others may see the same lie from their side."""
    found = check(*logs, **options).violations
    assert rule in {number for number, _, _ in found}, f"caught by {found}"


def test_a_plain_history_passes():
    passes(PRODUCER, WORKER, STATE)


def test_a_line_nobody_understands_is_caught():
    caught(0, PRODUCER, WORKER, STATE, "1 frobnicate a")


# ---- 1 ----

def test_1_an_acknowledged_task_that_is_gone():
    caught(1, PRODUCER, done=0)
    caught(1, PRODUCER, "1000 owner w:1\n2000 got a 50 1 25 1990", done=0)


def test_1_a_task_that_was_not_acknowledged_may_be_gone():
    passes("1000 try a 0 0 0 - -", done=0)


def test_1_a_task_that_is_still_open():
    for state in "queued", "delayed", "active":
        caught(1, PRODUCER, f"8000000 state a {state} 0 0", done=0)


def test_1_a_completion_that_is_forgotten():
    caught(1, PRODUCER, WORKER, done=0)
    passes(PRODUCER, WORKER, "8000000 state b done 60 1",
           "1000 owner w:2\n2000 got b 60 1 25 1990\n2001 fin b 60 0",
           promise=Promise(done_count=1))


def test_1_a_task_that_was_cancelled_and_runs():
    undone = PRODUCER + "1100 undo a\n1101 undone a 1\n"
    passes(undone, done=0)
    caught(1, undone, WORKER, STATE)


# ---- 2 ----

SECOND_RUN = """
1000 owner w:2
3000000 got a 60 2 25 2999990
3000001 run a 60
3000002 fin a 60 0
3000003 done a 60 {result}
"""


def test_2_a_task_that_is_completed_twice():
    caught(2, PRODUCER, WORKER, SECOND_RUN.format(result=1), STATE)


def test_2_a_second_run_that_is_told_it_is_known():
    caught(2, PRODUCER, WORKER, SECOND_RUN.format(result=2), STATE)


def test_2_a_completion_asked_again_is_known():
    passes(PRODUCER, WORKER + "2004 done a 50 2\n", STATE)
    caught(2, PRODUCER, WORKER + "2004 done a 50 1\n", STATE)


def test_2_an_effect_without_its_completion_and_the_reverse():
    parent = WORKER.replace("fin a 50 0", "fin a 50 1")
    child = "\n".join(("1000 owner w:3", "4000 got a.c 51 1 25 3990",
                       "4001 fin a.c 51 0", "4002 done a.c 51 1"))
    child_state = "8000000 state a.c done 51 1"
    passes(PRODUCER, parent, STATE, child, child_state, done=2)
    caught(2, PRODUCER, parent, STATE)
    caught(2, PRODUCER, "8000000 state a dead 50 25", child, child_state, dead=1)


# ---- 3 ----

def test_3_a_record_with_the_token_of_another_run():
    caught(3, PRODUCER, WORKER, "8000000 state a done 51 1")


def test_3_a_record_that_nobody_made():
    caught(3, PRODUCER, WORKER.replace("2002 fin a 50 0\n2003 done a 50 1\n", ""),
           STATE)


def test_3_a_token_that_is_given_twice():
    other = PRODUCER.replace(" a ", " b ") + WORKER.replace(" a ", " b ")
    caught(3, PRODUCER, WORKER, STATE, other, "8000000 state b done 50 1", done=2)


def test_3_a_token_that_falls():
    first = WORKER.replace("2002 fin a 50 0\n2003 done a 50 1",
                           "2002 fail a 50 0\n2003 failed a 50 8")
    later = SECOND_RUN.format(result=1).replace(" 60", " 40")
    caught(3, PRODUCER, first, later, "8000000 state a done 40 2")


# ---- 4 ----

def interrupted(end=""):
    """A first run that is in the middle of its work."""
    return "1000 owner w:1\n2000 got a 50 1 25 1990\n2001 run a 50\n" + end


def again(at, result=1):
    return (f"1000 owner w:2\n{at} got a 60 2 25 {at - 10}\n{at} run a 60\n"
            f"{at + 1} fin a 60 0\n{at + 2} done a 60 {result}\n")


STATE_60 = "8000000 state a done 60 2"


def test_4_a_run_that_is_handed_out_twice():
    caught(4, PRODUCER, interrupted(), again(500_000), STATE_60)


def test_4_whoever_was_killed_failed_or_gave_back_is_a_reason():
    passes(PRODUCER, interrupted(), again(500_000), STATE_60, "400000 kill w:1")
    passes(PRODUCER, interrupted(), again(500_000), STATE_60, "400000 dead w:1")
    passes(PRODUCER, interrupted("3000 fail a 50 0\n3001 failed a 50 8\n"),
           again(500_000), STATE_60)
    passes(PRODUCER, interrupted("3000 release a 50\n3001 released a 50 1\n"),
           again(500_000), STATE_60)
    passes(PRODUCER, interrupted("400000 poison a 50\n"), again(500_000), STATE_60)


def test_4_a_kill_that_came_later_or_a_refused_failure_is_none():
    caught(4, PRODUCER, interrupted(), again(500_000), STATE_60, "600000 kill w:1")
    caught(4, PRODUCER, interrupted("3000 fail a 50 0\n3001 failed a 50 6\n"),
           again(500_000), STATE_60)


def test_4_a_failure_that_was_recorded_may_be_answered_with_lost():
    refused = interrupted("3000 fail a 50 0\n3001 failed a 50 6\n")
    passes(PRODUCER, refused, again(500_000), STATE_60,
           "4000 event a failed it was to fail")
    caught(4, PRODUCER, refused, again(500_000), STATE_60,
           "2500 event a failed it was to fail")


def test_4_a_lease_that_ran_out_is_a_reason_and_one_that_was_prolonged_is_none():
    passes(PRODUCER, interrupted(), again(1_002_000), STATE_60)
    beat = "900001 beat a 50 1 900000\n"
    caught(4, PRODUCER, interrupted(beat), again(1_002_000), STATE_60)
    passes(PRODUCER, interrupted(beat), again(1_901_000), STATE_60)


def test_4_an_outage_does_not_count():
    promise = Promise(outages=("away",))
    driver = "10000 fault away\n2010000 healed away\n"
    caught(4, PRODUCER, interrupted(), again(2_500_000), STATE_60, driver,
           promise=promise)
    passes(PRODUCER, interrupted(), again(3_100_000), STATE_60, driver,
           promise=promise)


def test_4_a_task_that_runs_after_its_completion():
    caught(4, PRODUCER, WORKER, again(5_000_000, 6), STATE)


def test_4_an_attempt_that_does_not_count():
    caught(4, PRODUCER, interrupted(),
           again(500_000).replace("got a 60 2", "got a 60 1"), STATE_60,
           "400000 kill w:1")


# ---- 5 ----

def test_5_a_stale_run_that_does_not_know_it():
    stale = interrupted("2500000 fin a 50 0\n2500001 done a 50 6\n")
    caught(5, PRODUCER, stale, again(1_100_000), STATE_60)
    passes(PRODUCER, stale + "2500002 fenced a 50\n", again(1_100_000), STATE_60)


def test_5_a_stale_run_that_is_prolonged():
    caught(5, PRODUCER, interrupted("2000001 beat a 50 1 2000000\n"),
           again(1_100_000), STATE_60)


def test_5_a_stale_run_that_completes():
    caught(5, PRODUCER, interrupted("2500000 fin a 50 0\n2500001 done a 50 1\n"),
           again(1_100_000, 6) + "1200000 fenced a 60\n", STATE)


# ---- 6 ----

def test_6_a_store_that_is_not_at_rest():
    for counts in "1 0 0 0 1 0", "0 1 0 0 1 0", "0 0 1 0 1 0", "0 0 0 1 1 0":
        history = History.of_lines(PRODUCER, WORKER, STATE,
                                   f"9000000 counts {counts}\n9000001 looked 1")
        assert 6 in {rule for rule, _, _ in Checker(history).check()}, counts
    history = History.of_lines(PRODUCER, WORKER, STATE)
    assert 6 in {rule for rule, _, _ in Checker(history).check()}


def test_6_books_that_do_not_agree():
    passes(PRODUCER, WORKER, STATE, "9000002 audit count 0")
    caught(6, PRODUCER, WORKER, STATE, "9000002 audit count 1")


def test_6_what_is_left_under_the_keys_of_redis():
    raw = "9000002 raw data 0\n9000002 raw meta 0\n9000002 raw dead 0\n"
    passes(PRODUCER, WORKER, STATE, raw + "9000002 raw processing 0")
    caught(6, PRODUCER, WORKER, STATE, raw + "9000002 raw processing 1")
    caught(6, PRODUCER, WORKER, STATE, raw.replace("meta 0", "meta 1"))


# ---- 7 ----

def test_7_an_enqueue_that_is_tried_again():
    retry = PRODUCER + "1500 try a 0 0 0 - -\n1501 ack a {}\n"
    passes(retry.format(2), WORKER, STATE)
    caught(7, retry.format(1), WORKER, STATE)
    caught(7, retry.format(4), WORKER, STATE)


def test_7_a_duplicate_that_runs():
    caught(7, PRODUCER.replace("ack a 1", "ack a 3"), WORKER, STATE)


def test_7_two_tasks_with_a_key_at_once():
    one = PRODUCER.replace(" -\n", " key\n").replace("0 0 0", f"{UNIQUE} 0 0")
    two = one.replace(" a ", " b ").replace("100", "150")
    late = WORKER.replace(" a ", " b ").replace(" 50", " 70").replace(
        "1000 owner w:1", "1000 owner w:2")
    both = "8000000 state a done 50 1\n8000000 state b done 70 1"
    caught(7, one, two, WORKER, late, both, done=2)
    passes(one, two.replace("150", "250"), WORKER,
           late.replace("\n200", "\n300").replace("1990", "2990"), both, done=2)


# ---- 8 ----

def test_8_a_delayed_task_that_comes_early():
    delayed = PRODUCER.replace("try a 0 0", f"try a {LATER} 500")
    caught(8, delayed, WORKER, STATE)
    on_time = WORKER.replace("\n200", "\n60200").replace("1990", "601990")
    passes(delayed, on_time, STATE)


def test_8_delayed_tasks_that_come_late():
    delayed = PRODUCER.replace("try a 0 0", f"try a {LATER} 500")
    late = WORKER.replace("\n200", "\n6020000").replace("1990", "602000000")
    caught(8, delayed, late, STATE, promise=Promise(lateness_ms=1000))


# ---- 9 ----

def cron(*dues):
    logs, states = [], []
    for token, due in enumerate(dues, 50):
        id = f"cron:tick:{due}"
        logs += [f"1000 fire tick {due} {due + 200}", f"1001 fired tick {due} 1",
                 f"1002 owner w:{token}", f"2000 got {id} {token} 1 25 1990",
                 f"2001 fin {id} {token} 0", f"2002 done {id} {token} 1"]
        states.append(f"8000000 state {id} done {token} 1")
    return "\n".join(logs), "\n".join(states)


def test_9_a_time_that_two_fired():
    log, states = cron(200, 400, 600)
    passes(log, states, done=3)
    caught(9, log, states, "1000 fire tick 400 600\n1001 fired tick 400 1", done=3)
    passes(log, states, "1000 fire tick 400 600\n1001 fired tick 400 13", done=3)


def test_9_a_time_that_was_left_out():
    caught(9, *cron(200, 600), done=2)


def test_9_a_time_that_was_fired_and_is_gone():
    caught(9, *cron(200, 400), "1000 fire tick 600 800\n1001 fired tick 600 1",
           done=2)


# ---- 10 ----

def test_10_a_recovery_that_takes_too_long():
    killed = "3000 kill w:1\n3001 dead w:1\n"
    passes(PRODUCER, interrupted(), again(1_100_000), STATE_60, killed)
    caught(10, PRODUCER, interrupted(), again(7_100_000), STATE_60, killed)
    caught(10, PRODUCER, interrupted(), again(39_100_000), STATE_60, killed)


def test_10_what_is_reaped_comes_back_at_once():
    logs, states = [], []
    for i in range(6):
        logs += [PRODUCER.replace(" a ", f" t{i} "),
                 interrupted().replace(" a ", f" t{i} ").replace(
                     " 50", f" {50 + i}").replace("w:1", f"w:{i}"),
                 again(900_000).replace(" a ", f" t{i} ").replace(
                     " 60", f" {60 + i}").replace("w:2", f"v:{i}"),
                 f"3000 kill w:{i}\n3001 dead w:{i}\n3002 reaped w:{i} 1\n"]
        states.append(f"8000000 state t{i} done {60 + i} 2")
    caught(10, *logs, *states, done=6)
    passes(*(log.replace("9000", "400") for log in logs), *states, done=6)


# ---- 11 ----

def test_11_a_servers_task_on_another_server():
    own = PRODUCER.replace("0 0 0 - -", "6 0 0 srv-1 -")
    passes(own, WORKER.replace("w:1", "srv-1:1"), STATE)
    caught(11, own, WORKER, STATE)


def test_11_a_servers_queue_that_is_starved():
    logs = [PRODUCER.replace("0 0 0 - -", "6 0 0 srv-1 -")]
    worker = ["1000 owner srv-1:1"]
    states = []
    for i in range(100):
        at = 2000 + 10 * i
        worker += [f"{at} got t{i} {100 + i} 1 25 {at - 5}",
                   f"{at + 1} fin t{i} {100 + i} 0",
                   f"{at + 2} done t{i} {100 + i} 1"]
        states.append(f"8000000 state t{i} done {100 + i} 1")
    worker.append("4000 got a 900 1 25 3990 srv-1\n4001 fin a 900 0\n"
                  "4002 done a 900 1")
    states.append("8000000 state a done 900 1")
    logs += ["\n".join(worker), "\n".join(states)]
    promise = Promise(never_killed=("srv-1",), concurrency=2)
    caught(11, *logs, done=101, promise=promise)
    passes(*logs, done=101,
           promise=Promise(never_killed=("srv-1",), concurrency=8))


# ---- 12 ----

def test_12_a_poison_task():
    for kind in BURIED, POISON:
        poison = PRODUCER.replace("0 0 0 - -", f"{kind} 0 2 - -")
        runs = (interrupted(), again(500_000).split("\n500001")[0],
                "400000 kill w:1\n600000 kill w:2")
        passes(poison, *runs, "8000000 state a dead 60 2", done=0, dead=1)
        caught(12, poison, *runs, "8000000 state a dead 60 1", done=0, dead=1)
        caught(12, poison, interrupted(), again(500_000), "400000 kill w:1",
               STATE_60)
        third = "1000 owner w:3\n700000 got a 70 3 2 699990"
        caught(12, poison, *runs, third, "8000000 state a dead 70 2", done=0, dead=1)


def test_12_a_task_that_is_buried_alive():
    caught(12, PRODUCER, interrupted(), "8000000 state a dead 50 1", done=0, dead=1)
    passes(PRODUCER.replace("0 0 0 - -", f"{FINAL} 0 0 - -"),
           interrupted("3000 fail a 50 1\n3001 failed a 50 9\n"),
           "8000000 state a dead 50 1", done=0, dead=1)


# ---- programs of the public API, which are not told of claims and answers ----

APPLICATION = """
1000 owner app-1:77
2000 got a 50 1 25 0
2001 run a 50
{end}
"""
LATER_RUN = """
1000 owner app-2:78
1500000 got a 60 2 25 0
1500001 run a 60
1500002 fin a 60 0
"""


def application(*more, end="", rule=None, **options):
    logs = (PRODUCER, APPLICATION.format(end=end), LATER_RUN, STATE_60, *more)
    if rule:
        caught(rule, *logs, **options)
    else:
        passes(*logs, **options)


def test_4_of_an_application_the_store_says_why():
    application(rule=4)
    for kind in "expired", "reaped", "released":
        application("1400000 event a " + kind + " token=50 attempt=1",
                    "1000 stop :77\n1300000 resume :77")
    application("1400000 event a expired token=49 attempt=1", rule=4)
    application("1400000 kill :77")
    application("1600000 kill :77", rule=4)


def test_4_of_an_application_no_lease_ends_unless_somebody_was_hurt():
    event = "1400000 event a expired token=50 attempt=1"
    application(event, rule=4)
    application(event, "1000 stop :99\n1300000 resume :99")
    application(event, "1000 fault away\n1300000 healed away")
    application(event, "1300000 kill :77")
    application(event, "1300000 slow 1000000")
    application(event, "1000 stop :99\n1200 resume :99", rule=4,
                promise=Promise(lease_ms=400))


def test_5_an_application_that_was_overtaken_knows_it():
    hurt = "1400000 event a expired token=50 attempt=1\n1300000 kill :77"
    application(hurt, end="3500000 fin a 50 0", rule=5)
    application(hurt, end="3400000 fenced a 50\n3500000 fin a 50 0")
    # Less than a lease later it may not have heard of it yet.
    application(hurt, end="2000000 fin a 50 0")


def test_2_an_effect_is_made_once():
    promise = Promise(has_effects=True)
    killed = "1400000 kill :77"
    application(killed, "8000001 effect a 1", promise=promise)
    application(killed, promise=promise, rule=2)
    application(killed, "8000001 effect a 2", promise=promise, rule=2)


# ---- what may be lost, and what is told ----

def test_what_a_failover_may_lose_is_told_apart():
    promise = Promise(losing=("failover",), lag_ms=1)
    for driver, is_excused in (("1500 fault failover\n9000 healed failover", True),
                               ("5000 fault failover\n9000 healed failover", False)):
        checker = check(PRODUCER, driver, promise=promise, done=0)
        equal(len(checker.excused), int(is_excused))
        equal(len(checker.violations), int(not is_excused))


def test_every_scenario_is_run():
    here = os.path.dirname(os.path.abspath(__file__))
    with open(os.path.join(here, "test_chaos.py")) as file:
        scenarios = {line[len("def test_"):line.index("(")] for line in file
                     if line.startswith("def test_")}
    with open(os.path.join(here, "meson.build")) as file:
        listed = {line.strip(" ',\n") for line in file}
    equal(sorted(scenarios - listed), [])


def test_some_rules_may_hold_all_the_same():
    promise = Promise(losing=("failover",), kept=(1,))
    caught(1, PRODUCER, "1500 fault failover\n9000 healed failover",
           promise=promise, done=0)


def test_a_summary_counts():
    checker = check(PRODUCER, interrupted(), again(500_000), STATE_60,
                    "300000 stop w:1\n400000 kill w:1")
    for part in "1 tasks", "1 kills", "1 stops", "1 run again (1 killed)":
        assert part in checker.summary(), checker.summary()


if __name__ == "__main__":
    sys.exit(main(globals()))
