/* The way between servers is interrupted: who missed what is told. */
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "group.h"
#include "loop/timer.h"

#define EVERY_MS 5

/* Publishes all the time. */
struct chatter {
	struct server *server;
	struct timer *timer;
	uint64_t sent;
	uint64_t refused;
};

static void on_time(void *owner)
{
	struct chatter *chatter = owner;
	char body[24];

	snprintf(body, sizeof(body), "%ju", (uintmax_t)chatter->sent);
	int error = bus_publish(
		chatter->server->bus,
		&(struct bus_outgoing){ .type = B("tick"), .body = B(body) },
		server_on_published, chatter->server);

	if (error == 0)
		chatter->sent++;
	else
		chatter->refused++;
}

static void chatter_start(struct chatter *chatter, struct server *server)
{
	chatter->server = server;
	chatter->timer =
		timer_open(server->fixture->loop, on_time, chatter, false);
	timer_start(chatter->timer, EVERY_MS, EVERY_MS);
}

static uint64_t all_published(const struct server *server)
{
	struct bus_counters counters;

	bus_counters(server->bus, &counters);
	return counters.transport.published;
}

/* By number, the bus's own messages too: everything that ever was published on
 * the general lane has come here, or is known to be missing. */
static bool is_all_accounted_for(const struct server *server,
				 const struct server *other)
{
	struct bus_counters counters;

	bus_counters(server->bus, &counters);
	return counters.envelopes.answers[ENVELOPE_TAKEN] +
		       counters.envelopes.missed ==
	       all_published(server) + all_published(other);
}

struct pair {
	struct chatter a;
	struct chatter b;
};

static void pair_open(struct pair *pair, struct fixture *f)
{
	struct server *a = server_open(f, "api-worker-1", NULL);
	struct server *b =
		server_open(f, "api-worker-2", fixture_open(f, f->url));

	memset(pair, 0, sizeof(*pair));
	server_on_type(a, "tick");
	server_on_type(b, "tick");
	chatter_start(&pair->a, a);
	chatter_start(&pair->b, b);
	AWAIT(f, a->seen > 20 && b->seen > 20);
}

/* Until both are up again and nothing is left open; then what was told. */
static void pair_settle(struct pair *pair)
{
	struct fixture *f = pair->a.server->fixture;
	struct server *a = pair->a.server;
	struct server *b = pair->b.server;

	AWAIT(f, a->ups == 2 && b->ups == 2);
	timer_stop(pair->a.timer);
	timer_stop(pair->b.timer);
	AWAIT(f, a->published == pair->a.sent && b->published == pair->b.sent);
	AWAIT(f, is_all_accounted_for(a, b) && is_all_accounted_for(b, a));
	assert_true(a->seen + a->missed >= pair->a.sent + pair->b.sent);
	assert_true(b->seen + b->missed >= pair->a.sent + pair->b.sent);
	assert_int_equal(a->downs, 1);
	assert_int_equal(b->downs, 1);
	assert_true(a->unknown_gaps >= 1);
	assert_true(b->unknown_gaps >= 1);
}

static void pair_close(struct pair *pair)
{
	timer_close(pair->a.timer);
	timer_close(pair->b.timer);
	server_close(pair->b.server);
	server_close(pair->a.server);
}

/* ---- one Redis ---- */

static void set_timeout(struct fixture *f, uint32_t timeout_ms)
{
	fixture_close(f, f->store);
	f->options.timeout_ms = timeout_ms;
	f->store = fixture_open(f, f->url);
}

static void an_outage_of_three_seconds_is_accounted_for(void **state)
{
	struct fixture *f = *state;
	struct pair pair;

	/* Nothing is given up before the server is back. */
	set_timeout(f, 20000);
	pair_open(&pair, f);
	uint64_t before = pair.a.sent;

	fixture_stop(f->server, SIGKILL);
	fixture_run_ms(f, 3000);
	assert_true(pair.a.sent > before + 100); /* it went on meanwhile */
	f->server = fixture_start_redis(f->directory, NULL);
	pair_settle(&pair);
	assert_int_equal(pair.a.refused + pair.b.refused, 0);
	/* What waited for the server was sent; what was lost was lost while
	 * nobody had subscribed again. */
	assert_int_equal(pair.a.server->failed, 0);
	pair_close(&pair);
}

static void a_subscription_that_is_cut_off_is_renewed(void **state)
{
	struct fixture *f = *state;
	struct pair pair;
	char line[64];

	pair_open(&pair, f);
	fixture_redis_cli(f, "client kill type pubsub", line, sizeof(line));
	assert_string_equal(line, "2");
	pair_settle(&pair);
	pair_close(&pair);
}

/* Nothing is told to a connection that only listens: it has to ask. */
static void a_server_that_is_stopped_is_noticed(void **state)
{
	struct fixture *f = *state;
	struct pair pair;

	set_timeout(f, 3000);
	pair_open(&pair, f);
	kill(f->server, SIGSTOP);
	AWAIT(f, pair.a.server->downs == 1 && pair.b.server->downs == 1);
	kill(f->server, SIGCONT);
	pair_settle(&pair);
	pair_close(&pair);
}

static void what_waits_for_a_server_that_is_away_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct server *server = server_open(f, "a", NULL);
	char *body = mem_alloc(100001);
	size_t taken = 0;
	int error = 0;

	memset(body, '1', 100000);
	body[100000] = '\0';
	fixture_stop(f->server, SIGKILL);
	f->server = 0;
	AWAIT(f, server->downs == 1);
	while (error == 0) {
		error = bus_publish(server->bus,
				    &(struct bus_outgoing){ .type = B("x"),
							    .body = B(body) },
				    server_on_published, server);
		taken += error == 0;
		assert_true(taken < 1000);
	}
	assert_int_equal(error, -ENOBUFS);
	assert_in_range(taken, 60, 90);
	/* And it is told that it was not sent, once the time is over. */
	AWAIT(f, server->published == taken);
	assert_int_equal(server->failed, taken);
	assert_int_equal(server->error, -ETIMEDOUT);
	free(body);
	server_close(server);
}

/* ---- Sentinel ---- */

static void a_failover_is_followed(void **state)
{
	struct group *group = *state;
	struct pair pair;

	pair_open(&pair, &group->fixture);
	fixture_stop(group->primary, SIGKILL);
	group->primary = 0;
	pair_settle(&pair);
	pair_close(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
		TEST(an_outage_of_three_seconds_is_accounted_for),
		TEST(a_subscription_that_is_cut_off_is_renewed),
		TEST(a_server_that_is_stopped_is_noticed),
		TEST(what_waits_for_a_server_that_is_away_is_bounded),
		cmocka_unit_test_setup_teardown(a_failover_is_followed,
						group_set_up, group_tear_down),
	};

	fixture_back_end = "redis";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
