/*
 * server - a server of the cluster within the test: a bus over a store of its
 * own or the fixture's, and what came to it.
 */
#pragma once
#include "fixture.h"
#include "service/bus.h"

struct server {
	struct fixture *fixture;
	struct store *store;
	bool owns_store;
	char id[32];
	struct bus *bus;
	struct bus_watcher *watcher;
	/* Of handlers: */
	size_t seen;
	size_t own;
	size_t direct;
	char text[256]; /* "TYPE CHANNEL FROM BODY" of the last one */
	/* Of bus_publish(): */
	size_t published;
	size_t failed;
	int error;
	int64_t receivers;
	/* Of watchers: */
	uint64_t missed;
	uint64_t missed_of_others;
	size_t gaps;
	size_t unknown_gaps;
	size_t ups;
	size_t downs;
	size_t refused[ENVELOPE_ANSWERS];
	size_t ready;
};

#define B(text) ((struct envelope_text){ (text), strlen(text) })

/* `store` NULL: the fixture's. Waits until it is up. */
struct server *server_open(struct fixture *fixture, const char *id,
			   struct store *store);
/* The same, with another token; not awaited. */
struct server *server_open_with(struct fixture *fixture, const char *id,
				struct store *store, const char *token,
				const char *second);
void server_close(struct server *server);

/* For handlers: owner is the server. */
void server_on_message(void *owner, const struct bus_message *message);
void server_on_ready(void *owner);
/* A handler that is ready. */
struct bus_handler *server_on_type(struct server *server, const char *type);
struct bus_handler *server_on_channel(struct server *server,
				      const char *pattern);
void server_publish(struct server *server, const char *type,
		    const char *channel, const char *body);
void server_send(struct server *server, const char *to, const char *type,
		 const char *body);
void server_on_published(void *owner, int error, int64_t receivers);

void server_late(void *owner);
/* Looks at the condition again now and then, whatever happens meanwhile. */
struct timer *server_poke(struct fixture *fixture);

#define AWAIT(fixture, condition)                                              \
	do {                                                                   \
		static char awaited_[] = #condition;                           \
		struct timer *timer_ = timer_open(                             \
			(fixture)->loop, server_late, awaited_, false);        \
		struct timer *poke_ = server_poke(fixture);                    \
		timer_start(timer_, 30000, 0);                                 \
		while (!(condition))                                           \
			loop_run((fixture)->loop);                             \
		timer_close(timer_);                                           \
		timer_close(poke_);                                            \
	} while (0)
