#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "loop/tls.h"
#include "store/redis_internal.h"
#include "store/store_bus_internal.h"

#define WAIT_MS   1000 /* for replicas, where nobody says how long */
#define AGAIN_MS  30
#define TRIES_MAX 100 /* of what nobody waits for */

uint64_t redis_random(struct redis *redis)
{
	redis->seed ^= redis->seed << 13;
	redis->seed ^= redis->seed >> 7;
	redis->seed ^= redis->seed << 17;
	return redis->seed;
}

/* ---- commands ---- */

static void run_refuse(struct loop_task *task)
{
	struct redis *redis = LIST_ENTRY(task, struct redis, refuse);
	struct list *link;

	while ((link = list_first(&redis->refused)) != NULL) {
		list_remove(link);
		redis_finish(LIST_ENTRY(link, struct redis_command, link));
	}
}

void redis_fail_later(struct redis *redis, struct redis_command *command)
{
	list_add_last(&redis->refused, &command->link);
	loop_defer(redis->store->loop, &redis->refuse);
}

static void refuse(struct redis_command *command, const struct problem *problem)
{
	struct redis *redis = command->redis;

	if (command->call != NULL)
		store_call_fail_as(command->call, problem);
	redis_fail_later(redis, command);
}

/* Opened when something waits first; on a Cluster it goes with its slot. */
static struct redis_connection *blocking(struct redis *redis,
					 const struct redis_command *command)
{
	const struct redis_connection *like =
		redis->is_cluster ? redis_cluster_route(redis, command)
				  : redis->main;
	struct redis_address at = like->address;

	/* Sentinel is asked for each connection. */
	if (redis->sentinels != NULL)
		at.host = NULL;
	MUST(!redis->is_cluster || at.host != NULL);
	if (redis->blocking == NULL)
		redis->blocking =
			redis_connection_open(redis, REDIS_BLOCKING, &at);
	else if (redis->is_cluster &&
		 (strcmp(redis->blocking->address.host, at.host) != 0 ||
		  redis->blocking->address.port != at.port))
		redis_connection_turn(redis->blocking, &at);
	for (size_t i = 0; i < redis->node_count; i++)
		if (redis->nodes[i] == like)
			redis->blocking_node = (int)i;
	return redis->blocking;
}

void redis_send(struct redis *redis, struct redis_command *command)
{
	struct redis_connection *connection;

	if (command->is_blocking)
		connection = blocking(redis, command);
	else if (redis->is_cluster)
		connection = redis_cluster_route(redis, command);
	else
		connection = redis->main;

	command->is_sent = false;
	/* Who waits does so until it can be used, or for as long as asked. */
	if (connection->problem.code < 0 && !command->is_blocking)
		refuse(command, &connection->problem);
	else
		redis_connection_send(connection, command);
}

void redis_command_later(struct redis_command *command)
{
	struct redis *redis = command->redis;
	bool is_awaited = command->call != NULL && !command->call->is_answered;

	command->is_sent = false;
	if (!is_awaited && command->tries++ > TRIES_MAX) {
		redis_finish(command);
		return;
	}
	list_add_last(&redis->pausing, &command->link);
	if (!timer_is_started(redis->again))
		timer_start(redis->again, AGAIN_MS, 0);
}

static void on_again(void *owner)
{
	struct redis *redis = owner;
	struct list again;
	struct list *link;

	list_init(&again);
	while ((link = list_first(&redis->pausing)) != NULL) {
		list_remove(link);
		list_add_last(&again, link);
	}
	while ((link = list_first(&again)) != NULL) {
		list_remove(link);
		redis_send(redis, LIST_ENTRY(link, struct redis_command, link));
	}
}

void redis_command_lost(struct redis_command *command)
{
	if (command->call != NULL)
		store_call_fail(
			command->call, -ECONNRESET, "STORE_ANSWER_LOST",
			"the connection to Redis was lost before the "
			"answer came; what was asked may have happened");
	redis_finish(command);
}

static bool has(const char *text, const char *what)
{
	return strstr(text, what) != NULL;
}

void redis_command_failed(struct redis_command *command, const char *text)
{
	struct store_call *call = command->call;

	if (call == NULL)
		; /* nobody waits */
	else if (has(text, "OOM "))
		store_call_fail(
			call, -ENOSPC, "STORE_FULL",
			"Redis has reached its maxmemory (remove tasks, "
			"or give it more)");
	else if (has(text, "WRONGTYPE"))
		store_call_fail(call, -EINVAL, "CACHE_WRONG_TYPE",
				"the key holds a list where a value is meant, "
				"or a value where a list is (destroy it "
				"first)");
	else if (has(text, "not an integer") || has(text, "overflow"))
		store_call_fail(call, -EINVAL, "CACHE_NOT_A_NUMBER",
				"the key holds no number that this can be "
				"added to (destroy it first)");
	else if (has(text, "MISCONF") || has(text, "NOREPLICAS"))
		store_call_fail(call, -EROFS, "STORE_READ_ONLY",
				"Redis takes no writes now: %.140s (see its "
				"log)",
				text);
	else if (has(text, "NOPERM") || has(text, "NOAUTH"))
		store_call_fail(
			call, -EACCES, "STORE_REFUSED",
			"Redis refuses us: %.140s (give the user of the "
			"URL the right)",
			text);
	else
		store_call_fail(call, -EIO, "STORE_FAILED",
				"Redis says: %.200s", text);
	redis_finish(command);
}

/* ---- when it can be used ---- */

static void answer_ready(struct redis *redis, const struct problem *problem)
{
	struct list *link;

	while ((link = list_first(&redis->ready)) != NULL) {
		struct store_call *call =
			LIST_ENTRY(link, struct store_call, back_link);

		list_remove(link);
		if (problem != NULL)
			store_call_fail_as(call, problem);
		else
			call->answer.result = STORE_DONE;
		store_call_finish(call);
	}
}

void redis_is_ready(struct redis *redis, struct redis_connection *connection)
{
	if (connection->purpose == REDIS_BLOCKING)
		redis_wait_ready(redis);
	else if (connection->purpose == REDIS_BUS)
		redis_bus_link_ready(redis, connection);
	else if (connection->purpose == REDIS_SENTINEL)
		; /* it is asked when somebody wants to know */
	else if (!redis->is_cluster || redis_cluster_ready(redis, connection))
		answer_ready(redis, NULL);
	if (connection->purpose == REDIS_MAIN)
		redis_bus_publishing(redis);
}

void redis_cluster_known(struct redis *redis)
{
	answer_ready(redis, NULL);
}

void redis_is_refused(struct redis *redis, struct redis_connection *connection)
{
	struct list *link;

	if (connection->purpose != REDIS_MAIN)
		return;
	while ((link = list_first(&connection->waiting)) != NULL) {
		list_remove(link);
		refuse(LIST_ENTRY(link, struct redis_command, link),
		       &connection->problem);
	}
	answer_ready(redis, &connection->problem);
}

static void await_ready(struct redis *redis, struct store_call *call)
{
	struct redis_connection *first =
		redis->is_cluster ? redis->nodes[0] : redis->main;

	list_add_last(&redis->ready, &call->back_link);
	if (first->state == REDIS_READY || first->problem.code < 0)
		loop_defer(redis->store->loop, &redis->say_ready);
	else
		redis_connection_start(first);
}

static void run_say_ready(struct loop_task *task)
{
	struct redis *redis = LIST_ENTRY(task, struct redis, say_ready);
	const struct redis_connection *first =
		redis->is_cluster ? redis->nodes[0] : redis->main;

	answer_ready(redis, first->problem.code < 0 ? &first->problem : NULL);
}

/* ---- the store's table ---- */

static void submit(struct store *store, struct store_call *call)
{
	struct redis *redis = store->back_end;

	if (call->operation == STORE_READY_CALL)
		await_ready(redis, call);
	else if (call->operation == STORE_WAIT_CALL)
		redis_wait_start(redis, call);
	else if (call->operation >= STORE_CACHE_SAVE_CALL)
		redis_submit_cache(redis, call);
	else if (call->operation >= STORE_ROOM_CREATE_CALL)
		redis_submit_rooms(redis, call);
	else if (call->operation >= STORE_PEER_PING_CALL)
		redis_submit_peers(redis, call);
	else if (call->operation >= STORE_SHOW_CALL)
		redis_submit_show(redis, call);
	else
		redis_submit_tasks(redis, call);
}

static void abandon(struct store *store, struct store_call *call)
{
	struct redis *redis = store->back_end;
	struct redis_command *command = call->back_data;

	if (call->operation == STORE_WAIT_CALL) {
		redis_wait_abandon(redis, call);
	} else if (call->operation == STORE_CACHE_LOCK_CALL &&
		   redis_lock_abandon(redis, call)) {
		return; /* it is tried once more, to leave */
	} else if (call->operation == STORE_READY_CALL) {
		list_remove(&call->back_link);
		store_call_finish(call);
	} else if (command != NULL && !command->is_sent) {
		list_remove(&command->link);
		redis_finish(command);
	} else if (command != NULL && !redis->is_closing) {
		redis_connection_suspect(command->connection);
	}
}

static enum store_result peek(struct store *store,
			      const struct store_cache_load *request,
			      struct store_answer *answer)
{
	(void)store;
	(void)request;
	(void)answer;
	return STORE_BUSY;
}

/* In ms, for replicas. What the URL says counts first. */
static uint32_t wait_of(const struct store *store, const struct store_url *url)
{
	uint32_t wait_ms =
		url->wait_ms != 0 ? url->wait_ms : store->options.wait_ms;
	uint32_t half_ms = store->options.timeout_ms / 2;

	if (wait_ms != 0 && !store->options.waits_for_none)
		return wait_ms;
	return half_ms < WAIT_MS ? half_ms : WAIT_MS;
}

static int redis_open(struct store *store, const struct store_url *url,
		      struct problem *problem)
{
	uint32_t wait_ms = wait_of(store, url);

	if (wait_ms >= store->options.timeout_ms)
		return problem_set(
			problem, -EINVAL, "STORE_OPTION",
			"replicas are waited for until after an "
			"operation's time is over (set wait_ms below "
			"the %u ms of its timeout)",
			store->options.timeout_ms);
	const struct tls_settings tls = { .ca_path = url->ca_path,
					  .own = { url->cert_path,
						   url->key_path },
					  .check = url->check };
	struct tls_context *context =
		url->is_tls ? tls_context_new(&tls, problem) : NULL;

	if (url->is_tls && context == NULL)
		return problem->code;
	struct redis *redis = mem_zalloc(sizeof(*redis));

	redis->tls = context;
	redis->wait_ms = wait_ms == 0 ? 1 : wait_ms; /* 0 would be for ever */
	redis->wait_replicas = store->options.waits_for_none ? 0
			       : url->wait_replicas != 0
				       ? url->wait_replicas
				       : store->options.wait_replicas;
	store->back_end = redis;
	redis->store = store;
	redis->is_cluster = url->kind == STORE_URL_CLUSTER;
	store_url_copy(&redis->url, url);
	redis->seed = (uint64_t)(uintptr_t)redis ^
		      loop_now_ms(store->loop) << 20 ^ 0x9e3779b97f4a7c15;
	list_init(&redis->pausing);
	list_init(&redis->ready);
	list_init(&redis->refused);
	redis->refuse.run = run_refuse;
	redis->say_ready.run = run_say_ready;
	redis->again = timer_open(store->loop, on_again, redis, false);
	if (redis->is_cluster) {
		redis_cluster_open(redis);
		return 0;
	}
	struct redis_address address = {
		.path = redis->url.path,
		.host = url->kind == STORE_URL_REDIS ? redis->url.hosts[0].name
						     : NULL,
		.port = redis->url.hosts[0].port,
	};

	if (url->kind == STORE_URL_SENTINEL)
		redis_sentinel_open(redis);
	redis->main = redis_connection_open(redis, REDIS_MAIN, &address);
	redis_connection_start(redis->main);
	return 0;
}

static void finish_all(struct list *commands)
{
	struct list *link;

	while ((link = list_first(commands)) != NULL) {
		list_remove(link);
		redis_finish(LIST_ENTRY(link, struct redis_command, link));
	}
}

static void redis_close(struct store *store)
{
	struct redis *redis = store->back_end;

	redis->is_closing = true;
	redis_waits_free(redis);
	redis_locks_free(redis);
	redis_sentinel_close(redis);
	redis_connection_close(redis->main);
	redis_connection_close(redis->blocking);
	for (size_t i = 0; i < redis->node_count; i++)
		redis_connection_close(redis->nodes[i]);
	finish_all(&redis->pausing);
	finish_all(&redis->refused);
	answer_ready(redis, NULL);
	loop_undefer(&redis->refuse);
	loop_undefer(&redis->say_ready);
	timer_close(redis->again);
	tls_context_free(redis->tls);
	store_url_fini(&redis->url);
	free(redis);
	store_closed(store);
}

const struct store_ops redis_ops = {
	.name = "redis",
	.open = redis_open,
	.close = redis_close,
	.submit = submit,
	.abandon = abandon,
	.peek = peek,
	.bus = &redis_bus_ops,
};
