/* On a Redis Cluster: lanes are on several nodes, and slots move. */
#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"

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

static void move_slot(const char *slot, size_t source, size_t target)
{
	char to[64];
	char command[256];

	ask_node(target, "cluster myid", to, sizeof(to));
	snprintf(command, sizeof(command), "cluster setslot %s node %s", slot,
		 to);
	/* The new one first, or nobody would have it. */
	tell_node(target, command);
	tell_node(source, command);
	tell_node(3 - source - target, command);
}

/* Nobody subscribes on a node that has lost the slot: it says so itself, and
 * who had subscribed does so where it is now. */
static void a_lane_whose_slot_moves_is_followed(void **state)
{
	struct fixture *f = *state;
	struct server *a = server_open(f, "a", NULL);
	struct server *b = server_open(f, "b", fixture_open(f, f->url));
	char slot[32];

	server_on_type(b, "x");
	server_publish(a, "x", "", "1");
	AWAIT(f, b->seen == 1);
	ask_node(0, "cluster keyslot '{muster:bus}'", slot, sizeof(slot));
	size_t source = strtoul(slot, NULL, 10) * 3 / 16384;
	size_t target = (source + 1) % 3;

	move_slot(slot, source, target);
	AWAIT(f, a->downs == 1 && b->downs == 1);
	AWAIT(f, a->ups == 2 && b->ups == 2);
	server_publish(a, "x", "", "2");
	AWAIT(f, b->seen == 2);
	assert_true(b->unknown_gaps >= 1);
	move_slot(slot, target, source);
	AWAIT(f, a->ups == 3 && b->ups == 3);
	server_publish(b, "x", "", "3");
	AWAIT(f, b->seen == 3);
	server_close(b);
	server_close(a);
}

/* What one node has does not show at another, unless it is told to all: so
 * this is what sharded pub/sub is for. */
static void lanes_are_spread_over_the_nodes(void **state)
{
	struct fixture *f = *state;
	struct server *server = server_open(f, "a", NULL);
	size_t with_lanes = 0;
	size_t lanes = 0;

	server_on_channel(server, "/**");
	for (size_t i = 0; i < 3; i++) {
		char command[] = "--raw pubsub shardchannels '{muster:bus*' | "
				 "wc -l";
		char line[32];

		ask_node(i, command, line, sizeof(line));
		size_t here = strtoul(line, NULL, 10);

		with_lanes += here > 0;
		lanes += here;
	}
	assert_int_equal(lanes, BUS_LANES + 2);
	assert_int_equal(with_lanes, 3);
	for (unsigned i = 0; i < 100; i++) {
		char channel[16];

		snprintf(channel, sizeof(channel), "/room/%u", i);
		server_publish(server, "x", channel, "1");
	}
	AWAIT(f, server->seen == 100 && server->published == 100);
	server_close(server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
		TEST(lanes_are_spread_over_the_nodes),
		TEST(a_lane_whose_slot_moves_is_followed),
	};

	fixture_back_end = "cluster";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
