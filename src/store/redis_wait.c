#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "store/redis_internal.h"

#define LATE_MS 100 /* the server's own time-out comes first, mostly */

/*
 * All that wait in this process share one connection and one BLPOP, for all of
 * their queues. Who comes with another queue meanwhile has it ended (CLIENT
 * UNBLOCK) and begun anew.
 */
struct redis_waits {
	struct list calls;
	struct redis_command *blocked; /* under way; NULL: none */
	struct redis_queues queues;    /* that it is about */
	struct arena arena;            /* their names */
	bool is_ending;                /* it was told to */
	struct timer *timer;
};

static uint64_t until_ms(const struct store_call *call)
{
	return call->deadline_ms - call->store->options.timeout_ms;
}

static void finish(struct store_call *call, enum store_result result)
{
	list_remove(&call->back_link);
	call->answer.result = result;
	store_call_finish(call);
}

static bool is_about(const struct store_call *call, struct store_bytes queue)
{
	const struct store_wait *request = call->request;

	for (size_t i = 0; i < request->queue_count; i++)
		if (store_bytes_equal(request->queues[i], queue))
			return true;
	return false;
}

/* Somebody else is to have the mark: whoever it was meant for has gone. */
static void give_back(struct redis *redis, struct store_bytes name)
{
	struct redis_command *command = redis_command_new(redis, NULL, NULL);

	command->takes_errors = true;
	redis_text(command, "RPUSH");
	redis_key(command, name);
	redis_text(command, "1");
	redis_send(redis, command);
}

static void block(struct redis *redis);

static void time_out(struct redis *redis)
{
	uint64_t now_ms = loop_now_ms(redis->store->loop);
	struct list over;

	list_init(&over);
	LIST_EACH (&redis->waits->calls, link) {
		if (until_ms(LIST_ENTRY(link, struct store_call, back_link)) >
		    now_ms)
			continue;
		list_remove(link);
		list_add_last(&over, link);
	}
	while (!list_is_empty(&over))
		finish(LIST_ENTRY(over.next, struct store_call, back_link),
		       STORE_TIMED_OUT);
}

static void on_popped(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct redis_waits *waits = redis->waits;
	struct store_bytes queue;

	waits->blocked = NULL;
	waits->is_ending = false;
	redis_command_free(command);
	if (redis_reply_count(reply) == 2) {
		struct store_bytes name =
			redis_reply_bytes(redis_reply_at(reply, 0));
		struct store_call *woken = NULL;

		if (redis_wake_unname(redis, name, &queue)) {
			LIST_EACH (&waits->calls, link) {
				struct store_call *call = LIST_ENTRY(
					link, struct store_call, back_link);

				if (woken == NULL && is_about(call, queue))
					woken = call;
			}
		}
		if (woken == NULL)
			give_back(redis, name);
		else
			finish(woken, STORE_WOKEN);
	}
	time_out(redis);
	block(redis);
}

static void gather(struct redis_waits *waits)
{
	arena_fini(&waits->arena);
	waits->queues.count = 0;
	LIST_EACH (&waits->calls, link) {
		const struct store_call *call =
			LIST_ENTRY(link, struct store_call, back_link);
		const struct store_wait *request = call->request;

		for (size_t i = 0; i < request->queue_count; i++) {
			struct store_bytes name = arena_copy(
				&waits->arena, request->queues[i].data,
				request->queues[i].length);

			redis_queue_index(&waits->queues, name);
		}
	}
}

static uint64_t first_until_ms(const struct redis_waits *waits)
{
	uint64_t first_ms = UINT64_MAX;

	LIST_EACH (&waits->calls, link) {
		uint64_t ms = until_ms(
			LIST_ENTRY(link, struct store_call, back_link));

		if (ms < first_ms)
			first_ms = ms;
	}
	return first_ms;
}

static void block(struct redis *redis)
{
	struct redis_waits *waits = redis->waits;
	uint64_t now_ms = loop_now_ms(redis->store->loop);
	char seconds[32];

	if (list_is_empty(&waits->calls)) {
		timer_stop(waits->timer);
		return;
	}
	uint64_t first_ms = first_until_ms(waits);
	uint64_t left_ms = first_ms > now_ms ? first_ms - now_ms : 1;

	timer_start(waits->timer, left_ms + LATE_MS, 0);
	if (waits->blocked != NULL)
		return;
	gather(waits);
	waits->blocked = redis_command_new(redis, NULL, on_popped);
	redis_text(waits->blocked, "BLPOP");
	for (size_t i = 0; i < waits->queues.count; i++)
		redis_key_wake(waits->blocked, waits->queues.names[i]);
	snprintf(seconds, sizeof(seconds), "%llu.%03llu",
		 (unsigned long long)(left_ms / 1000),
		 (unsigned long long)(left_ms % 1000));
	redis_text(waits->blocked, seconds);
	waits->blocked->is_blocking = true;
	redis_send(redis, waits->blocked);
}

static void end_block(struct redis *redis)
{
	struct redis_waits *waits = redis->waits;
	struct redis_connection *connection = redis->blocking;

	if (waits->blocked == NULL || waits->is_ending || connection == NULL)
		return;
	if (!waits->blocked->is_sent) {
		list_remove(&waits->blocked->link);
		redis_command_free(waits->blocked);
		waits->blocked = NULL;
		return;
	}
	waits->is_ending = true;
	struct redis_command *command = redis_command_new(redis, NULL, NULL);

	command->takes_errors = true;
	redis_text(command, "CLIENT");
	redis_text(command, "UNBLOCK");
	redis_text(command, connection->client_id);
	command->node = redis->is_cluster ? redis->blocking_node : -1;
	redis_send(redis, command);
}

static void on_timer(void *owner)
{
	struct redis *redis = owner;

	time_out(redis);
	if (list_is_empty(&redis->waits->calls))
		end_block(redis);
	block(redis);
}

void redis_wait_start(struct redis *redis, struct store_call *call)
{
	struct redis_waits *waits = redis->waits;
	const struct store_wait *request = call->request;
	bool is_covered = true;

	if (waits == NULL) {
		waits = mem_zalloc(sizeof(*waits));
		list_init(&waits->calls);
		waits->timer =
			timer_open(redis->store->loop, on_timer, redis, false);
		redis->waits = waits;
	}
	list_add_last(&waits->calls, &call->back_link);
	if (waits->blocked != NULL) {
		for (size_t i = 0; i < request->queue_count; i++) {
			size_t known = waits->queues.count;

			redis_queue_index(&waits->queues, request->queues[i]);
			if (waits->queues.count == known)
				continue;
			waits->queues.count = known;
			is_covered = false;
		}
	}
	if (!is_covered)
		end_block(redis);
	block(redis);
}

void redis_wait_abandon(struct redis *redis, struct store_call *call)
{
	finish(call, STORE_TIMED_OUT);
	if (redis->is_closing)
		return;
	if (list_is_empty(&redis->waits->calls))
		end_block(redis);
	block(redis);
}

/* The connection was away: what it waited for it waits for anew. */
void redis_wait_ready(struct redis *redis)
{
	redis->waits->is_ending = false;
}

void redis_waits_free(struct redis *redis)
{
	struct redis_waits *waits = redis->waits;

	if (waits == NULL)
		return;
	timer_close(waits->timer);
	arena_fini(&waits->arena);
	while (!list_is_empty(&waits->calls))
		finish(LIST_ENTRY(waits->calls.next, struct store_call,
				  back_link),
		       STORE_TIMED_OUT);
	free(waits);
	redis->waits = NULL;
}
