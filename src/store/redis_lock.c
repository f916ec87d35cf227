#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "store/redis_internal.h"

#define KEPT_MS 500 /* for who is next: he may be dead */
#define LOOK_MS 100 /* between the looks of those who wait, */
#define NEXT_MS 20  /* and of the first of them */

/*
 * Who waits stands in a set beside the lock, by when he came; whoever unlocks
 * makes the first one the owner for a moment. He finds that when he looks the
 * next time, at a random one so that not all look at once. A message would come
 * sooner, but would need a connection of its own that is always there.
 */
struct redis_locks {
	struct list asleep;
	struct timer *timer;
};

struct lock_wait {
	struct list link; /* while it sleeps */
	struct store_call *call;
	uint64_t until_ms;
	uint64_t look_ms;
	bool wants; /* to wait if it is not free */
};

static void try(struct redis *redis, struct lock_wait *wait);

static void set_timer(struct redis *redis)
{
	uint64_t now_ms = loop_now_ms(redis->store->loop);
	uint64_t first_ms = UINT64_MAX;

	LIST_EACH (&redis->locks->asleep, link) {
		uint64_t look_ms =
			LIST_ENTRY(link, struct lock_wait, link)->look_ms;

		if (look_ms < first_ms)
			first_ms = look_ms;
	}
	if (first_ms == UINT64_MAX)
		timer_stop(redis->locks->timer);
	else
		timer_start(redis->locks->timer,
			    first_ms > now_ms ? first_ms - now_ms : 0, 0);
}

static void on_time(void *owner)
{
	struct redis *redis = owner;
	uint64_t now_ms = loop_now_ms(redis->store->loop);
	struct list due;
	struct list *link;

	list_init(&due);
	LIST_EACH (&redis->locks->asleep, at) {
		if (LIST_ENTRY(at, struct lock_wait, link)->look_ms > now_ms)
			continue;
		list_remove(at);
		list_add_last(&due, at);
	}
	while ((link = list_first(&due)) != NULL) {
		list_remove(link);
		try(redis, LIST_ENTRY(link, struct lock_wait, link));
	}
	set_timer(redis);
}

static void sleep_until_next(struct redis *redis, struct lock_wait *wait,
			     uint64_t left_ms, int64_t place)
{
	uint64_t now_ms = loop_now_ms(redis->store->loop);
	uint64_t most_ms = place == 0 ? NEXT_MS : LOOK_MS;
	uint64_t look_ms = most_ms / 2 + redis_random(redis) % (most_ms / 2);

	if (look_ms > left_ms + 1)
		look_ms = left_ms + 1;
	wait->look_ms = now_ms + look_ms;
	if (wait->look_ms > wait->until_ms)
		wait->look_ms = wait->until_ms;
	wait->call->back_data = NULL;
	list_add_last(&redis->locks->asleep, &wait->link);
	set_timer(redis);
}

static void on_locked(struct redis *redis, struct redis_command *command,
		      const redisReply *reply)
{
	struct store_call *call = command->call;
	struct lock_wait *wait = (struct lock_wait *)(uintptr_t)command->detail;

	if (redis_reply_count(reply) != 5) {
		redis_reply_odd(command);
		return;
	}
	int64_t left_ms = redis_reply_integer(reply->element[2]);
	bool is_ours = redis_reply_integer(reply->element[0]) == 1;
	struct store_answer *answer = &call->answer;

	answer->result = is_ours ? STORE_DONE : STORE_BUSY;
	answer->lock.left_ms = left_ms > 0 ? (uint64_t)left_ms : 0;
	if (is_ours) {
		answer->lock.token =
			(uint64_t)redis_reply_integer(reply->element[1]);
		answer->lock.is_new =
			redis_reply_integer(reply->element[3]) == 1;
	}
	if (is_ours || wait == NULL || !wait->wants || redis->is_closing) {
		redis_finish(command);
		return;
	}
	int64_t place = redis_reply_integer(reply->element[4]);

	redis_command_free(command);
	if (call->is_answered ||
	    loop_now_ms(redis->store->loop) >= wait->until_ms)
		try(redis, wait);
	else
		sleep_until_next(redis, wait, answer->lock.left_ms, place);
}

static void send_lock(struct redis *redis, struct store_call *call,
		      struct lock_wait *wait, uint64_t wait_ms)
{
	const struct store_cache_lock *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_locked);

	command->detail = (uint64_t)(uintptr_t)wait;
	redis_script(command, SCRIPT_cache_lock, 3);
	redis_key_cache(command, "lock", request->key);
	redis_key_fence(command, request->key);
	redis_key_cache(command, "_lockwait", request->key);
	redis_bytes(command, request->owner);
	redis_number(command, request->ttl_ms);
	redis_number(command, wait_ms);
	redis_send(redis, command);
}

/* A last time, wanting no more, when its time is over or nobody waits for it:
 * then it leaves its place. */
static void try(struct redis *redis, struct lock_wait *wait)
{
	uint64_t now_ms = loop_now_ms(redis->store->loop);

	wait->wants = now_ms < wait->until_ms && !wait->call->is_answered;
	send_lock(redis, wait->call, wait,
		  wait->wants ? wait->until_ms - now_ms : 0);
}

void redis_lock(struct redis *redis, struct store_call *call)
{
	const struct store_cache_lock *request = call->request;

	if (request->wait_ms == 0) {
		send_lock(redis, call, NULL, 0);
		return;
	}
	struct lock_wait *wait =
		arena_take_zeroed(&call->arena, 1, sizeof(*wait));

	if (redis->locks == NULL) {
		redis->locks = mem_zalloc(sizeof(*redis->locks));
		list_init(&redis->locks->asleep);
		redis->locks->timer =
			timer_open(redis->store->loop, on_time, redis, false);
	}
	wait->call = call;
	wait->until_ms = loop_now_ms(redis->store->loop) + request->wait_ms;
	try(redis, wait);
}

static struct lock_wait *find_asleep(struct redis *redis,
				     const struct store_call *call)
{
	if (redis->locks == NULL)
		return NULL;
	LIST_EACH (&redis->locks->asleep, link) {
		struct lock_wait *wait =
			LIST_ENTRY(link, struct lock_wait, link);

		if (wait->call == call)
			return wait;
	}
	return NULL;
}

bool redis_lock_abandon(struct redis *redis, struct store_call *call)
{
	struct lock_wait *wait = find_asleep(redis, call);

	if (wait == NULL || redis->store->is_closing)
		return wait != NULL;
	list_remove(&wait->link);
	try(redis, wait);
	set_timer(redis);
	return true;
}

void redis_locks_free(struct redis *redis)
{
	struct redis_locks *locks = redis->locks;
	struct list *link;

	if (locks == NULL)
		return;
	timer_close(locks->timer);
	while ((link = list_first(&locks->asleep)) != NULL) {
		list_remove(link);
		store_call_finish(
			LIST_ENTRY(link, struct lock_wait, link)->call);
	}
	free(locks);
	redis->locks = NULL;
}

/* ---- unlocking ---- */

static void on_unlocked(struct redis *redis, struct redis_command *command,
			const redisReply *reply)
{
	(void)redis;
	command->call->answer.result =
		redis_reply_integer(reply) == 1 ? STORE_DONE : STORE_LOST;
	redis_finish(command);
}

void redis_unlock(struct redis *redis, struct store_call *call)
{
	const struct store_cache_unlock *request = call->request;
	struct redis_command *command =
		redis_command_new(redis, call, on_unlocked);

	command->is_repeatable = false;
	redis_script(command, SCRIPT_cache_unlock, 3);
	redis_key_cache(command, "lock", request->key);
	redis_key_fence(command, request->key);
	redis_key_cache(command, "_lockwait", request->key);
	redis_bytes(command, request->owner);
	redis_number(command, request->token);
	redis_number(command, KEPT_MS);
	redis_send(redis, command);
}
