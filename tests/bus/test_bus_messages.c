/* Signed messages between servers, on each back end: who gets what, and what
 * is refused. */
#include "server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "loop/timer.h"

struct pair {
	struct server *a;
	struct server *b;
};

static bool is_embedded(void)
{
	return strcmp(fixture_back_end, "lmdb") == 0;
}

static struct pair open_pair(struct fixture *f)
{
	struct server *a = server_open(f, "api-worker-1", NULL);

	return (struct pair){ a, server_open(f, "api-worker-2",
					     fixture_open(f, f->url)) };
}

static void close_pair(struct pair pair)
{
	server_close(pair.b);
	server_close(pair.a);
}

static void a_message_goes_to_the_handlers_of_its_type(void **state)
{
	struct fixture *f = *state;
	struct pair pair = open_pair(f);

	server_on_type(pair.b, "greeting");
	server_publish(pair.a, "farewell", "", "1");
	server_publish(pair.a, "greeting", "", "{\"text\":\"hello\"}");
	AWAIT(f, pair.b->seen == 1 && pair.a->published == 2);
	assert_string_equal(pair.b->text,
			    "greeting  api-worker-1 {\"text\":\"hello\"}");
	assert_int_equal(pair.b->own, 0);
	assert_int_equal(pair.a->receivers, f->is_cluster ? -1 : 2);
	close_pair(pair);
}

static void channels_and_patterns_are_told_apart(void **state)
{
	struct fixture *f = *state;
	struct pair pair = open_pair(f);
	static const struct {
		const char *pattern;
		const char *channels; /* those it is for, of the list below */
	} cases[] = {
		{ "/a/b", "1" },   { "/a/*", "12" }, { "/a/**", "123" },
		{ "/**", "0123" }, { "/*", "0" },    { "/a/b/*", "3" },
		{ "/x/**", "" },
	};
	static const char *const channels[] = { "/a", "/a/b", "/a/c",
						"/a/b/c" };

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct bus_handler *handler =
			server_on_channel(pair.b, cases[i].pattern);
		struct bus_handler *end = server_on_type(pair.b, "end");
		char got[8] = "";

		for (size_t j = 0; j < 4; j++) {
			size_t seen = pair.b->seen;

			server_publish(pair.a, "x", channels[j], "1");
			/* On a Cluster lanes may overtake one another. */
			if (strchr(cases[i].channels, '0' + (int)j) != NULL)
				AWAIT(f, pair.b->seen > seen);
			server_publish(pair.a, "end", "", "1");
			AWAIT(f, strncmp(pair.b->text, "end", 3) == 0);
			if (pair.b->seen > seen + 1)
				got[strlen(got)] = (char)('0' + j);
			pair.b->text[0] = '\0';
		}
		assert_string_equal(got, cases[i].channels);
		bus_handler_remove(handler);
		bus_handler_remove(end);
	}
	close_pair(pair);
}

static void names_that_are_no_channels_are_refused(void **state)
{
	struct fixture *f = *state;
	struct server *server = server_open(f, "a", NULL);
	static const char *const wrong[] = { "",      "a",    "/",   "/a/",
					     "//a",   "/*/a", "/a*", "/a/***",
					     "/a\"b", "/**/a" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_null(bus_on_channel(server->bus, B(wrong[i]),
					   server_on_message, server));
	assert_null(bus_on_type(server->bus, B(""), server_on_message, server));
	for (size_t i = 1; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(bus_publish(server->bus,
					     &(struct bus_outgoing){
						     .type = B("x"),
						     .channel = B(wrong[i]) },
					     NULL, NULL),
				 -EINVAL);
	/* A pattern is nothing to publish on. */
	assert_int_equal(
		bus_publish(server->bus,
			    &(struct bus_outgoing){ .type = B("x"),
						    .channel = B("/a/*") },
			    NULL, NULL),
		-EINVAL);
	assert_int_equal(
		bus_publish(server->bus,
			    &(struct bus_outgoing){ .type = B("_bus:mark") },
			    NULL, NULL),
		-EINVAL);
	server_close(server);
}

static void a_message_to_one_server_is_for_it_alone(void **state)
{
	struct fixture *f = *state;
	struct pair pair = open_pair(f);

	server_on_type(pair.a, "do");
	server_on_type(pair.b, "do");
	server_send(pair.a, pair.b->id, "do", "[1]");
	AWAIT(f, pair.b->seen == 1 && pair.a->published == 1);
	assert_int_equal(pair.b->direct, 1);
	assert_int_equal(pair.a->receivers, f->is_cluster ? -1 : 1);
	server_send(pair.b, pair.a->id, "do", "[2]");
	AWAIT(f, strstr(pair.a->text, "[2]") != NULL);
	assert_int_equal(pair.a->seen + pair.b->seen, 2);
	/* Nobody has that name. */
	size_t published = pair.a->published;

	server_send(pair.a, "api-worker-9", "do", "[3]");
	AWAIT(f, pair.a->published > published);
	assert_int_equal(pair.a->receivers, f->is_cluster ? -1 : 0);
	close_pair(pair);
}

/* ---- handlers that change while they are called ---- */

struct changing {
	struct server *server;
	struct bus_handler *handlers[3];
	char calls[16];
};

static void third(void *owner, const struct bus_message *message)
{
	struct changing *changing = owner;

	(void)message;
	strcat(changing->calls, "3");
	loop_stop(changing->server->fixture->loop);
}

static void second(void *owner, const struct bus_message *message)
{
	struct changing *changing = owner;

	(void)message;
	strcat(changing->calls, "2");
}

static void first(void *owner, const struct bus_message *message)
{
	struct changing *changing = owner;

	(void)message;
	strcat(changing->calls, "1");
	bus_handler_remove(changing->handlers[0]);
	bus_handler_remove(changing->handlers[1]);
	changing->handlers[2] =
		bus_on_type(changing->server->bus, B("x"), third, changing);
	server_publish(changing->server, "x", "", "2");
}

static void handlers_may_be_added_and_removed_by_handlers(void **state)
{
	struct fixture *f = *state;
	struct server *server = server_open(f, "a", NULL);
	struct changing changing = { .server = server };

	changing.handlers[0] =
		bus_on_type(server->bus, B("x"), first, &changing);
	changing.handlers[1] =
		bus_on_type(server->bus, B("x"), second, &changing);
	server_publish(server, "x", "", "1");
	AWAIT(f, strchr(changing.calls, '3') != NULL);
	assert_string_equal(changing.calls, "13");
	server_close(server);
}

/* ---- what is refused ---- */

/* Puts bytes onto the general lane past any signing. */
static void inject(const struct server *server, const char *text)
{
	char *command;

	if (server->fixture->is_cluster)
		command =
			mem_format("redis-cli -c -p %u SPUBLISH '{muster:bus}' "
				   "'%s' > /dev/null",
				   fixture_cluster_port(0), text);
	else
		command = mem_format("redis-cli -s %s/redis.sock PUBLISH "
				     "muster:bus '%s' > /dev/null",
				     server->fixture->directory, text);
	/* NOLINTNEXTLINE(cert-env33-c): the words are ours alone */
	assert_int_equal(system(command), 0);
	free(command);
}

static void foreign_messages_are_refused_by_name(void **state)
{
	struct fixture *f = *state;

	struct server *server = server_open(f, "a", NULL);
	struct server *foreign = server_open_with(
		f, "b", fixture_open(f, f->url), "another token", NULL);

	server_on_type(server, "x");
	AWAIT(f, foreign->ups == 1);
	server_publish(foreign, "x", "", "1");
	AWAIT(f, server->refused[ENVELOPE_UNKNOWN_KEY] == 1);
	if (!is_embedded()) /* where nobody else gets at the sockets */
		inject(server,
		       "{\"messageType\":\"x\",\"serverToken\":\"change-me\"}");
	AWAIT(f, is_embedded() || server->refused[ENVELOPE_MALFORMED] == 1);
	assert_int_equal(server->seen, 0);
	struct bus_counters counters;

	bus_counters(server->bus, &counters);
	assert_int_equal(counters.envelopes.answers[ENVELOPE_UNKNOWN_KEY], 1);
	assert_int_equal(counters.envelopes.answers[ENVELOPE_MALFORMED],
			 !is_embedded());
	server_close(foreign);
	server_close(server);
}

static void both_tokens_are_understood_while_they_are_changed(void **state)
{
	struct fixture *f = *state;

	struct server *old = server_open_with(f, "a", NULL, "the old token",
					      "the new token");
	struct server *new = server_open_with(f, "b", fixture_open(f, f->url),
					      "the new token", "the old token");

	AWAIT(f, old->ups == 1 && new->ups == 1);
	server_on_type(old, "x");
	server_on_type(new, "x");
	server_publish(old, "x", "", "1");
	AWAIT(f, new->seen == 1 && old->seen == 1);
	server_publish(new, "x", "", "2");
	AWAIT(f, new->seen == 2 && old->seen == 2);
	server_close(new);
	server_close(old);
}

static void expect_token_refused(struct fixture *f, const char *token,
				 const char *name)
{
	struct problem problem = { 0 };
	const struct bus_options options = { .id = "a",
					     .nonce = "n",
					     .token = token };

	assert_null(bus_open(f->loop, f->store, &options, &problem));
	assert_string_equal(problem.name, name);
}

static void a_remote_store_wants_a_token_of_ones_own(void **state)
{
	struct fixture *f = *state;
	struct problem problem = { 0 };

	if (!is_embedded()) {
		expect_token_refused(f, NULL, "TOKEN_MISSING");
		expect_token_refused(f, "", "TOKEN_MISSING");
		expect_token_refused(f, "change-me", "TOKEN_DEFAULT");
		expect_token_refused(f, "Change-Me", "TOKEN_DEFAULT");
		return;
	}
	/* An embedded one has one of its own. */
	struct bus *bus = bus_open(
		f->loop, f->store,
		&(struct bus_options){ .id = "a", .nonce = "n" }, &problem);

	assert_non_null(bus);
	bus_close(bus);
}

static void what_cannot_be_sent_is_said_in_a_sentence(void **state)
{
	struct fixture *f = *state;
	struct server *server = server_open(f, "a", NULL);
	char *big = mem_alloc(ENVELOPE_BODY_MAX + 2);
	char deep[2 * ENVELOPE_DEPTH_MAX + 3];
	struct problem problem;
	static const struct {
		int error;
		const char *name;
	} cases[] = { { -EINVAL, "MESSAGE_INVALID" },
		      { -EMSGSIZE, "TOO_LARGE" },
		      { -ELOOP, "TOO_DEEP" } };

	memset(big, '1', ENVELOPE_BODY_MAX + 1);
	big[ENVELOPE_BODY_MAX + 1] = '\0';
	memset(deep, '[', ENVELOPE_DEPTH_MAX + 1);
	memset(deep + ENVELOPE_DEPTH_MAX + 1, ']', ENVELOPE_DEPTH_MAX + 1);
	deep[sizeof(deep) - 1] = '\0';
	const char *const bodies[] = { "{", big, deep };

	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(bus_publish(server->bus,
					     &(struct bus_outgoing){
						     .type = B("x"),
						     .body = B(bodies[i]) },
					     NULL, NULL),
				 cases[i].error);
		bus_problem(cases[i].error, &problem);
		assert_string_equal(problem.name, cases[i].name);
	}
	free(big);
	server_close(server);
}

/* ---- gaps ---- */

static void who_listens_anew_has_missed_nothing(void **state)
{
	struct fixture *f = *state;
	struct pair pair = open_pair(f);
	struct bus_handler *handler = server_on_channel(pair.b, "/a");

	server_publish(pair.a, "x", "/a", "1");
	AWAIT(f, pair.b->seen == 1);
	bus_handler_remove(handler);
	for (unsigned i = 0; i < 10; i++)
		server_publish(pair.a, "x", "/a", "2");
	AWAIT(f, pair.a->published == 11);
	server_on_channel(pair.b, "/a");
	server_publish(pair.a, "x", "/a", "3");
	AWAIT(f, strstr(pair.b->text, "3") != NULL);
	assert_int_equal(pair.b->seen, 2);
	assert_int_equal(pair.b->gaps, 0);
	/* Nor was it ever down. */
	assert_int_equal(pair.b->ups, 1);
	assert_int_equal(pair.b->downs, 0);
	close_pair(pair);
}

static void a_gap_says_which_channels_it_concerns(void **state)
{
	const struct bus_gap general = { .lane = B("") };
	const struct bus_gap own = { .lane = B("node:a") };
	size_t concerned = 0;

	(void)state;
	assert_true(bus_gap_concerns(&general, B("")));
	assert_false(bus_gap_concerns(&general, B("/a")));
	assert_true(bus_gap_concerns(&own, B("")));
	for (unsigned i = 0; i < BUS_LANES; i++) {
		char lane[8];

		snprintf(lane, sizeof(lane), "/%u", i);
		const struct bus_gap gap = { .lane = B(lane) };

		assert_true(bus_gap_concerns(&gap, B("/a/*")));
		assert_false(bus_gap_concerns(&gap, B("")));
		concerned += bus_gap_concerns(&gap, B("/a/b"));
	}
	assert_int_equal(concerned, 1);
}

static void the_stores_time_is_everybodys(void **state)
{
	struct fixture *f = *state;
	struct pair pair = open_pair(f);

	assert_true(llabs((long long)(bus_now_ms(pair.a->bus) -
				      bus_now_ms(pair.b->bus))) < 2000);
	close_pair(pair);
}

static uint64_t taken(const struct server *server)
{
	struct bus_counters counters;

	bus_counters(server->bus, &counters);
	return counters.envelopes.answers[ENVELOPE_TAKEN];
}

/* Whoever has missed the last one knows it from the mark behind it. */
static void a_mark_follows_what_was_published_last(void **state)
{
	struct fixture *f = *state;
	struct server *server = server_open(f, "a", NULL);
	uint64_t before = taken(server);

	server_on_type(server, "x");
	server_publish(server, "x", "", "1");
	AWAIT(f, taken(server) == before + 2);
	assert_int_equal(server->seen, 1);
	server_close(server);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_set_up, fixture_tear_down)
		TEST(a_message_goes_to_the_handlers_of_its_type),
		TEST(channels_and_patterns_are_told_apart),
		TEST(names_that_are_no_channels_are_refused),
		TEST(a_message_to_one_server_is_for_it_alone),
		TEST(handlers_may_be_added_and_removed_by_handlers),
		TEST(foreign_messages_are_refused_by_name),
		TEST(both_tokens_are_understood_while_they_are_changed),
		TEST(a_remote_store_wants_a_token_of_ones_own),
		TEST(what_cannot_be_sent_is_said_in_a_sentence),
		TEST(who_listens_anew_has_missed_nothing),
		TEST(a_gap_says_which_channels_it_concerns),
		TEST(the_stores_time_is_everybodys),
		TEST(a_mark_follows_what_was_published_last),
	};

	if (argc > 1)
		fixture_back_end = argv[1];
	return cmocka_run_group_tests(tests, NULL, NULL);
}
