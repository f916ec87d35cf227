/* What can happen to a store on a Redis Cluster: slots move. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

/* The first line of what a node says. */
static void ask_node(size_t node, const char *command, char *line, size_t size)
{
	char *text = mem_format("redis-cli -p %u %s",
				fixture_cluster_port(node), command);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	FILE *pipe = popen(text, "r");

	MUST(pipe != NULL);
	if (fgets(line, (int)size, pipe) == NULL)
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	pclose(pipe);
	free(text);
}

static void tell_node(size_t node, const char *command)
{
	char line[128];

	ask_node(node, command, line, sizeof(line));
	assert_string_equal(line, "OK");
}

static void a_slot_that_moves_is_followed(void **state)
{
	struct fixture *f = *state;
	char from[64];
	char to[64];
	char slot[32];
	char command[256];

	assert_done(ASK(cache_save, .key = T("k"), .value = T("v")));
	ask_node(0, "cluster keyslot 'muster:cache:{k}'", slot, sizeof(slot));
	size_t source = strtoul(slot, NULL, 10) * 3 / 16384;
	size_t target = (source + 1) % 3;

	ask_node(source, "cluster myid", from, sizeof(from));
	ask_node(target, "cluster myid", to, sizeof(to));
	snprintf(command, sizeof(command), "cluster setslot %s importing %s",
		 slot, from);
	tell_node(target, command);
	snprintf(command, sizeof(command), "cluster setslot %s migrating %s",
		 slot, to);
	tell_node(source, command);
	assert_string_equal(ASK(cache_load, .key = T("k"))->text, "v");

	/* On its way: the old node says ASK. */
	snprintf(command, sizeof(command),
		 "migrate 127.0.0.1 %u 'muster:cache:{k}' 0 5000",
		 fixture_cluster_port(target));
	tell_node(source, command);
	assert_string_equal(ASK(cache_load, .key = T("k"))->text, "v");

	/* There: it says MOVED. */
	snprintf(command, sizeof(command), "cluster setslot %s node %s", slot,
		 to);
	for (size_t i = 0; i < 3; i++)
		tell_node((target + i) % 3, command);
	assert_string_equal(ASK(cache_load, .key = T("k"))->text, "v");
	assert_done(ASK(cache_save, .key = T("k"), .value = T("w")));
	assert_string_equal(ASK(cache_load, .key = T("k"))->text, "w");
}

static size_t slot_of(const char *key)
{
	char command[128];
	char line[32];

	snprintf(command, sizeof(command), "cluster keyslot '%s'", key);
	ask_node(0, command, line, sizeof(line));
	return strtoul(line, NULL, 10);
}

static void run_shell(const char *command)
{
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	assert_int_equal(system(command), 0);
}

/* Some keys of a script are here and some there: neither node may run it. */
static void half_a_slot_is_waited_for(void **state)
{
	struct fixture *f = *state;
	static const struct store_bytes queues[] = { { "", 0 } };
	const struct store_task tasks[] = {
		{ .id = T("a"), .envelope = T("{}") },
		{ .id = T("b"), .envelope = T("{}") },
	};
	size_t slot = slot_of("{muster:tasks}:data");
	size_t source = slot * 3 / 16384;
	size_t target = (source + 1) % 3;
	char from[64];
	char to[64];
	char command[320];

	f->options.timeout_ms = 15000; /* redis-cli is started many times */
	fixture_reopen(f);
	assert_int_equal(
		ASK(enqueue, .tasks = &tasks[0], .count = 1)->results[0],
		STORE_DONE);
	ask_node(source, "cluster myid", from, sizeof(from));
	ask_node(target, "cluster myid", to, sizeof(to));
	snprintf(command, sizeof(command), "cluster setslot %zu importing %s",
		 slot, from);
	tell_node(target, command);
	snprintf(command, sizeof(command), "cluster setslot %zu migrating %s",
		 slot, to);
	tell_node(source, command);
	snprintf(command, sizeof(command),
		 "migrate 127.0.0.1 %u '{muster:tasks}:_meta' 0 5000",
		 fixture_cluster_port(target));
	tell_node(source, command);
	struct reply *reply = START(enqueue, .tasks = &tasks[1], .count = 1);

	fixture_run_ms(f, 150);
	assert_int_equal(reply->times, 0);
	snprintf(command, sizeof(command),
		 "for k in $(redis-cli -p %u cluster getkeysinslot %zu 100); "
		 "do redis-cli -p %u migrate 127.0.0.1 %u \"$k\" 0 5000; "
		 "done >/dev/null",
		 fixture_cluster_port(source), slot,
		 fixture_cluster_port(source), fixture_cluster_port(target));
	run_shell(command);
	fixture_run_ms(f, 600);
	assert_int_equal(reply->times, 0);
	snprintf(command, sizeof(command), "cluster setslot %zu node %s", slot,
		 to);
	for (size_t i = 0; i < 3; i++)
		tell_node((target + i) % 3, command);
	assert_int_equal(reply_wait(reply)->results[0], STORE_DONE);
	assert_int_equal(ASK(claim, .owner = T("me"), .queues = queues,
			     .queue_count = 1, .want = 5, .lease_ms = 9000)
				 ->count,
			 2);
}

static void a_slot_that_nobody_has_is_waited_for(void **state)
{
	struct fixture *f = *state;
	size_t slot = slot_of("muster:cache:{lonely}");
	size_t owner = slot * 3 / 16384;
	char command[64];

	assert_done(ASK(cache_save, .key = T("lonely"), .value = T("v")));
	snprintf(command, sizeof(command), "cluster delslots %zu", slot);
	tell_node(owner, command);
	/* Not to be done twice, which a refusal by the cluster is not. */
	struct reply *push =
		START(cache_destroy, .key = T("lonely"), .owner = T("o"));

	fixture_run_ms(f, 150);
	assert_int_equal(push->times, 0);
	snprintf(command, sizeof(command), "cluster addslots %zu", slot);
	tell_node(owner, command);
	assert_done(reply_wait(push));
}

static void all_nodes_are_walked(void **state)
{
	struct fixture *f = *state;
	struct reply *saves[60];

	for (size_t i = 0; i < 60; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%zu", i);
		saves[i] = START(cache_save, .key = T(key), .value = T("v"));
	}
	for (size_t i = 0; i < 60; i++)
		assert_done(reply_wait(saves[i]));
	assert_int_equal(ASK(cache_size)->value, 60);
	assert_int_equal(ASK(cache_clear)->value, 60);
	assert_int_equal(ASK(cache_size)->value, 0);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
	const struct CMUnitTest tests[] = {
		TEST(all_nodes_are_walked),
		TEST(a_slot_that_nobody_has_is_waited_for),
		TEST(a_slot_that_moves_is_followed),
		TEST(half_a_slot_is_waited_for),
	};

	fixture_back_end = "cluster";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
