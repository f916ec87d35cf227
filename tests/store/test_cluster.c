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
		TEST(a_slot_that_moves_is_followed),
	};

	fixture_back_end = "cluster";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
