#include "base/must.h"
#include "loop/timer.h"
#include "store/lmdb_internal.h"

static void finish(struct lmdb_waiter *waiter, enum store_result result)
{
	struct store_call *call = waiter->call;

	list_remove(&waiter->link);
	call->answer.result = result;
	store_call_finish(call);
}

static uint64_t all_queues(const struct lmdb_store *user)
{
	uint64_t queues = 0;

	LIST_EACH (&user->waiters, link)
		queues |= LIST_ENTRY(link, struct lmdb_waiter, link)->queues;
	return queues;
}

static void set_timer(struct lmdb_store *user)
{
	uint64_t first_ms = UINT64_MAX;
	uint64_t now_ms = loop_now_ms(user->store->loop);

	LIST_EACH (&user->waiters, link) {
		const struct lmdb_waiter *waiter =
			LIST_ENTRY(link, struct lmdb_waiter, link);

		if (waiter->until_ms < first_ms)
			first_ms = waiter->until_ms;
	}
	if (first_ms == UINT64_MAX)
		timer_stop(user->waiting);
	else
		timer_start(user->waiting,
			    first_ms > now_ms ? first_ms - now_ms : 0, 0);
}

/* Those who wait for one of `queues` and find something, up to one a queue:
 * whoever takes it wakes the next one if there is more. */
static void look(struct lmdb_store *user)
{
	struct lmdb_batch batch;
	struct list found;
	uint64_t woken = 0;

	list_init(&found);
	lmdb_batch_begin(&batch, &user->lmdb->lanes[LANE_TASKS], false);
	LIST_EACH (&user->waiters, link) {
		const struct lmdb_waiter *waiter =
			LIST_ENTRY(link, struct lmdb_waiter, link);

		if ((waiter->queues & ~woken) == 0 ||
		    !lmdb_tasks_wait_for(&batch, waiter->queues & ~woken))
			continue;
		woken |= waiter->queues;
		list_remove(link);
		list_add_last(&found, link);
	}
	DISCARD(lmdb_batch_end(&batch)); /* it was only read */
	lmdb_ear_wait(user->ear, all_queues(user));
	set_timer(user);
	while (!list_is_empty(&found))
		finish(LIST_ENTRY(found.next, struct lmdb_waiter, link),
		       STORE_WOKEN);
}

void lmdb_wait_start(struct lmdb_store *user, struct store_call *call)
{
	const struct store_wait *request = call->request;
	struct lmdb_waiter *waiter =
		arena_take_zeroed(&call->arena, 1, sizeof(*waiter));

	waiter->call = call;
	waiter->until_ms = loop_now_ms(user->store->loop) + request->timeout_ms;
	for (size_t i = 0; i < request->queue_count; i++)
		waiter->queues |= lmdb_board_bit(request->queues[i]);
	list_add_last(&user->waiters, &waiter->link);
	lmdb_ear_wait(user->ear, all_queues(user));
	/* The look, and an answer, come from the loop. */
	loop_defer(user->store->loop, &user->look);
}

void lmdb_wait_look(struct loop_task *task)
{
	look(LIST_ENTRY(task, struct lmdb_store, look));
}

/* A delayed task may be why: who waits has to ask again when it is due, so one
 * of them is let go though there is nothing to claim yet. */
void lmdb_wait_woken(struct lmdb_store *user, uint64_t queues)
{
	LIST_EACH (&user->waiters, link) {
		struct lmdb_waiter *waiter =
			LIST_ENTRY(link, struct lmdb_waiter, link);

		if ((waiter->queues & queues) == 0)
			continue;
		finish(waiter, STORE_WOKEN);
		break;
	}
	loop_defer(user->store->loop, &user->look);
}

void lmdb_wait_timed_out(void *owner)
{
	struct lmdb_store *user = owner;
	uint64_t now_ms = loop_now_ms(user->store->loop);
	struct list over;

	list_init(&over);
	LIST_EACH (&user->waiters, link) {
		if (LIST_ENTRY(link, struct lmdb_waiter, link)->until_ms >
		    now_ms)
			continue;
		list_remove(link);
		list_add_last(&over, link);
	}
	lmdb_ear_wait(user->ear, all_queues(user));
	set_timer(user);
	while (!list_is_empty(&over))
		finish(LIST_ENTRY(over.next, struct lmdb_waiter, link),
		       STORE_TIMED_OUT);
}

void lmdb_wait_abandon(struct lmdb_store *user, struct store_call *call)
{
	LIST_EACH (&user->waiters, link) {
		struct lmdb_waiter *waiter =
			LIST_ENTRY(link, struct lmdb_waiter, link);

		if (waiter->call != call)
			continue;
		finish(waiter, STORE_TIMED_OUT);
		break;
	}
	lmdb_ear_wait(user->ear, all_queues(user));
	set_timer(user);
}
