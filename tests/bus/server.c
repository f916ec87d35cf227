#include "server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "loop/timer.h"

void server_late(void *owner)
{
	fprintf(stderr, "did not come to pass: %s\n", (const char *)owner);
	abort();
}

static void poke(void *owner)
{
	const struct fixture *fixture = owner;

	loop_stop(fixture->loop);
}

struct timer *server_poke(struct fixture *fixture)
{
	struct timer *timer = timer_open(fixture->loop, poke, fixture, false);

	timer_start(timer, 10, 10);
	return timer;
}

static void wake(const struct server *server)
{
	loop_stop(server->fixture->loop);
}

static void on_gap(void *owner, const struct bus_gap *gap)
{
	struct server *server = owner;
	bool is_own = gap->from.length == strlen(server->id) &&
		      memcmp(gap->from.data, server->id, gap->from.length) == 0;

	server->gaps++;
	server->unknown_gaps += gap->missed == 0;
	server->missed += gap->missed;
	server->missed_of_others += is_own ? 0 : gap->missed;
	wake(server);
}

static void on_refused(void *owner, const struct bus_refusal *refusal)
{
	struct server *server = owner;

	server->refused[refusal->why]++;
	wake(server);
}

static void on_up(void *owner)
{
	struct server *server = owner;

	server->ups++;
	wake(server);
}

static void on_down(void *owner)
{
	struct server *server = owner;

	server->downs++;
	wake(server);
}

static const struct bus_events events = { on_gap, on_refused, on_up, on_down };

struct server *server_open_with(struct fixture *fixture, const char *id,
				struct store *store, const char *token,
				const char *second)
{
	static unsigned nonces;
	char nonce[16];
	struct problem problem = { 0 };
	struct server *server = mem_zalloc(sizeof(*server));

	snprintf(nonce, sizeof(nonce), "n%u", ++nonces);
	snprintf(server->id, sizeof(server->id), "%s", id);
	server->fixture = fixture;
	server->owns_store = store != NULL;
	server->store = store == NULL ? fixture->store : store;
	server->bus = bus_open(fixture->loop, server->store,
			       &(struct bus_options){
				       .id = id,
				       .nonce = nonce,
				       .token = token,
				       .second_token = second,
			       },
			       &problem);
	assert_string_equal(problem.text, "");
	assert_non_null(server->bus);
	server->watcher = bus_watch(server->bus, &events, server);
	return server;
}

struct server *server_open(struct fixture *fixture, const char *id,
			   struct store *store)
{
	struct server *server = server_open_with(
		fixture, id, store, "a token of some length", NULL);

	AWAIT(fixture, server->ups == 1);
	return server;
}

void server_close(struct server *server)
{
	bus_unwatch(server->watcher);
	bus_close(server->bus);
	if (server->owns_store)
		fixture_close(server->fixture, server->store);
	free(server);
}

void server_on_message(void *owner, const struct bus_message *message)
{
	struct server *server = owner;

	server->seen++;
	server->own += message->is_own;
	server->direct += message->is_direct;
	snprintf(server->text, sizeof(server->text), "%.*s %.*s %.*s %.*s",
		 (int)message->type.length, message->type.data,
		 (int)message->channel.length,
		 message->channel.length == 0 ? "" : message->channel.data,
		 (int)message->from.length, message->from.data,
		 (int)message->body.length, message->body.data);
	wake(server);
}

void server_on_ready(void *owner)
{
	struct server *server = owner;

	server->ready++;
	wake(server);
}

static struct bus_handler *await_ready(struct server *server,
				       struct bus_handler *handler)
{
	size_t ready = server->ready;

	assert_non_null(handler);
	bus_handler_ready(handler, server_on_ready, server);
	AWAIT(server->fixture, server->ready > ready);
	return handler;
}

struct bus_handler *server_on_type(struct server *server, const char *type)
{
	return await_ready(server, bus_on_type(server->bus, B(type),
					       server_on_message, server));
}

struct bus_handler *server_on_channel(struct server *server,
				      const char *pattern)
{
	return await_ready(server, bus_on_channel(server->bus, B(pattern),
						  server_on_message, server));
}

void server_on_published(void *owner, int error, int64_t receivers)
{
	struct server *server = owner;

	server->published++;
	server->failed += error < 0;
	server->error = error;
	server->receivers = receivers;
	wake(server);
}

static void publish(struct server *server, const struct bus_outgoing *message)
{
	assert_int_equal(
		bus_publish(server->bus, message, server_on_published, server),
		0);
}

void server_publish(struct server *server, const char *type,
		    const char *channel, const char *body)
{
	publish(server, &(struct bus_outgoing){ .type = B(type),
						.channel = B(channel),
						.body = B(body) });
}

void server_send(struct server *server, const char *to, const char *type,
		 const char *body)
{
	publish(server, &(struct bus_outgoing){ .type = B(type),
						.to = B(to),
						.body = B(body) });
}
