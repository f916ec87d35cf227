/* A primary that dies, and a replica that takes over: Sentinel. */
#include "group.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

static void a_replica_that_takes_over_is_found(void **state)
{
	struct group *group = *state;
	struct fixture *f = &group->fixture;
	const struct store_bytes queues[] = { T("") };
	const struct store_task tasks[] = {
		{ .id = T("a"), .envelope = T("{}") },
		{ .id = T("b"), .envelope = T("{}") },
	};

	assert_int_equal(
		ASK(enqueue, .tasks = &tasks[0], .count = 1)->results[0],
		STORE_DONE);
	/* The replica has it: what follows is not about its lag. */
	group_await(group->replica_port, "hlen muster:tasks:data", "1");
	fixture_stop(group->primary, SIGKILL);
	group->primary = 0;
	assert_int_equal(
		ASK(enqueue, .tasks = &tasks[1], .count = 1)->results[0],
		STORE_DONE);
	struct reply *wait = ASK(wait, .queues = queues, .queue_count = 1,
				 .timeout_ms = 10000);

	assert_int_equal(wait->result, STORE_WOKEN);
	struct reply *claim =
		ASK(claim, .owner = T("me"), .queues = queues, .queue_count = 1,
		    .want = 10, .lease_ms = 60000);

	assert_int_equal(claim->count, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			a_replica_that_takes_over_is_found, group_set_up,
			group_tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
