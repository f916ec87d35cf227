#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "store/lmdb_guard.h"
#include "store/lmdb_internal.h"
#include "store/store_bus_internal.h"

#define TICK_MS            1000
#define READER_CHECK_TICKS 10
#define WATCH_MS           1000

#define WRITES(FUNCTION, LANE)                                                 \
	{                                                                      \
		lmdb_##FUNCTION, LANE_##LANE, true, false                      \
	}
#define FILLS(FUNCTION, LANE)                                                  \
	{                                                                      \
		lmdb_##FUNCTION, LANE_##LANE, true, true                       \
	}
#define READS(FUNCTION, LANE)                                                  \
	{                                                                      \
		lmdb_##FUNCTION, LANE_##LANE, false, false                     \
	}

const struct lmdb_operation lmdb_operations[STORE_READY_CALL] = {
	[STORE_ENQUEUE_CALL] = FILLS(enqueue, TASKS),
	[STORE_CLAIM_CALL] = WRITES(claim, TASKS),
	[STORE_HEARTBEAT_CALL] = WRITES(heartbeat, TASKS),
	[STORE_COMPLETE_CALL] = WRITES(complete, TASKS),
	[STORE_FAIL_CALL] = WRITES(fail_tasks, TASKS),
	[STORE_RELEASE_CALL] = WRITES(release, TASKS),
	[STORE_CANCEL_CALL] = WRITES(cancel, TASKS),
	[STORE_REAP_OWNER_CALL] = WRITES(reap_owner, TASKS),
	[STORE_RETRY_DEAD_CALL] = WRITES(retry_dead, TASKS),
	[STORE_REMOVE_CALL] = WRITES(remove, TASKS),
	[STORE_PROGRESS_CALL] = FILLS(progress, TASKS),
	[STORE_ADOPT_QUEUE_CALL] = WRITES(adopt_queue, TASKS),
	[STORE_AUDIT_CALL] = WRITES(audit, TASKS),
	[STORE_EVENTS_CALL] = READS(events, TASKS),
	[STORE_SHOW_CALL] = READS(show, TASKS),
	[STORE_LIST_CALL] = READS(list, TASKS),
	[STORE_COUNTS_CALL] = READS(counts, TASKS),
	[STORE_PAUSE_CALL] = WRITES(pause, TASKS),
	[STORE_LIMITS_CALL] = WRITES(limits, TASKS),
	[STORE_CRON_FIRE_CALL] = FILLS(cron_fire, TASKS),
	[STORE_PEER_PING_CALL] = WRITES(peer_ping, SHARED),
	[STORE_PEER_LIST_CALL] = READS(peer_list, SHARED),
	[STORE_PEER_DOWN_CALL] = WRITES(peer_down, SHARED),
	[STORE_PEER_LEAVE_CALL] = WRITES(peer_leave, SHARED),
	[STORE_NAME_TAKE_CALL] = WRITES(name_take, SHARED),
	[STORE_NAME_FREE_CALL] = WRITES(name_free, SHARED),
	[STORE_STATS_FLUSH_CALL] = WRITES(stats_flush, SHARED),
	[STORE_STATS_READ_CALL] = READS(stats_read, SHARED),
	[STORE_ROOM_CREATE_CALL] = FILLS(room_create, SHARED),
	[STORE_ROOM_DESTROY_CALL] = WRITES(room_destroy, SHARED),
	[STORE_ROOM_LIST_CALL] = WRITES(room_list, SHARED),
	[STORE_ROOM_JOIN_CALL] = FILLS(room_join, SHARED),
	[STORE_ROOM_LEAVE_CALL] = WRITES(room_leave, SHARED),
	[STORE_ROOM_MEMBERS_CALL] = WRITES(room_members, SHARED),
	[STORE_ROOM_SAY_CALL] = FILLS(room_say, SHARED),
	[STORE_ROOM_REAP_CALL] = WRITES(room_reap, SHARED),
	[STORE_WEB_PUSH_CALL] = FILLS(web_push, SHARED),
	[STORE_WEB_VISIT_CALL] = WRITES(web_visit, SHARED),
	[STORE_CACHE_SAVE_CALL] = FILLS(cache_save, SHARED),
	[STORE_CACHE_LOAD_CALL] = WRITES(cache_load, SHARED),
	[STORE_CACHE_DESTROY_CALL] = WRITES(cache_destroy, SHARED),
	[STORE_CACHE_KEYS_CALL] = READS(cache_keys, SHARED),
	[STORE_CACHE_SIZE_CALL] = READS(cache_size, SHARED),
	[STORE_CACHE_CLEAR_CALL] = WRITES(cache_clear, SHARED),
	[STORE_CACHE_PUSH_CALL] = FILLS(cache_push, SHARED),
	[STORE_CACHE_POP_CALL] = WRITES(cache_pop, SHARED),
	[STORE_CACHE_LENGTH_CALL] = READS(cache_length, SHARED),
	[STORE_CACHE_ADD_CALL] = FILLS(cache_add, SHARED),
	[STORE_CACHE_LOCK_CALL] = WRITES(cache_lock, SHARED),
	[STORE_CACHE_UNLOCK_CALL] = WRITES(cache_unlock, SHARED),
	[STORE_CACHE_EXPIRE_CALL] = WRITES(cache_expire, SHARED),
	[STORE_CACHE_EXPORT_CALL] = READS(cache_export, SHARED),
	[STORE_CACHE_IMPORT_CALL] = FILLS(cache_import, SHARED),
	[STORE_LOG_READ_CALL] = READS(log_read, SHARED),
};

static void submit_own(struct lmdb_store *user, struct store_call *call)
{
	const struct lmdb_own *own = call->request;

	lmdb_submit(user, own->operation.lane, call);
}

/* ---- effects on the cache of a completion, which is in the tasks' lane ----
 */

static bool has_cache_effects(const struct store_call *call)
{
	const struct store_complete *request = call->request;

	for (size_t i = 0; i < request->count; i++)
		for (size_t j = 0; j < request->items[i].effect_count; j++)
			if (request->items[i].effects[j].kind !=
			    STORE_EFFECT_ENQUEUE)
				return true;
	return false;
}

struct applying {
	struct store_call *waiting; /* for the outbox to be empty; or NULL */
};

static void apply_outbox(struct lmdb_store *user, struct store_call *waiting)
{
	const struct applying applying = { waiting };

	submit_own(user, lmdb_own_call(user, lmdb_cache_apply, LANE_SHARED,
				       &applying, sizeof(applying)));
}

void lmdb_came_back(struct lmdb_store *user, struct store_call *call)
{
	if (call->operation == STORE_COMPLETE_CALL && call->answer.error == 0 &&
	    !user->is_closing && has_cache_effects(call)) {
		apply_outbox(user, call);
		return;
	}
	if (call->operation == STORE_CACHE_LOAD_CALL && !user->is_closing)
		lmdb_cache_was_read(user, call);
	if (call->operation == STORE_CACHE_LOCK_CALL &&
	    call->back_data != NULL) {
		lmdb_lock_came_back(user, call);
		return;
	}
	if (call->operation == STORE_ADOPT_QUEUE_CALL &&
	    lmdb_adoption_goes_on(call) && !user->is_closing &&
	    !call->is_answered) {
		lmdb_submit(user, LANE_TASKS, call);
		return;
	}
	if (call->operation != STORE_OWN_CALL) {
		store_call_finish(call);
		return;
	}
	const struct lmdb_own *own = call->request;
	struct store_call *waiting = NULL;

	if (own->operation.run == lmdb_cache_apply) {
		waiting = ((const struct applying *)own->detail)->waiting;
		if (call->answer.error == 0)
			user->lmdb->outbox_done = call->answer.number.value;
	}
	store_call_finish(call);
	if (waiting != NULL)
		store_call_finish(waiting);
}

/* ---- the store's table ---- */

static void submit(struct store *store, struct store_call *call)
{
	struct lmdb_store *user = store->back_end;

	if (call->operation == STORE_READY_CALL) {
		list_add_last(&user->ready, &call->back_link);
		loop_defer(store->loop, &user->say_ready);
	} else if (call->operation == STORE_WAIT_CALL) {
		lmdb_wait_start(user, call);
	} else if (call->operation == STORE_CACHE_LOCK_CALL &&
		   ((const struct store_cache_lock *)call->request)->wait_ms >
			   0) {
		lmdb_lock_start(user, call);
	} else {
		lmdb_submit(user, lmdb_operations[call->operation].lane, call);
	}
}

static void say_ready(struct loop_task *task)
{
	struct lmdb_store *user =
		LIST_ENTRY(task, struct lmdb_store, say_ready);
	struct list *link;

	while ((link = list_first(&user->ready)) != NULL) {
		struct store_call *call =
			LIST_ENTRY(link, struct store_call, back_link);

		list_remove(link);
		call->answer.result = STORE_DONE;
		store_call_finish(call);
	}
}

static void abandon(struct store *store, struct store_call *call)
{
	/* The others are with a lane, and come back. */
	if (call->operation == STORE_WAIT_CALL)
		lmdb_wait_abandon(store->back_end, call);
	else if (call->operation == STORE_CACHE_LOCK_CALL)
		lmdb_lock_abandon(store->back_end, call);
}

/* Is the lane's thread kept from a lock that somebody sits on? */
static void check_lock(struct lmdb_store *user, struct lmdb_lane *lane)
{
	uint64_t since_ms = lane->locking_since_ms;

	if (since_ms != 0 && lmdb_boot_ms() >= since_ms + WATCH_MS)
		lmdb_board_watch(user->lmdb, lane->number,
				 loop_log(user->store->loop));
}

static void on_tick(void *owner)
{
	struct lmdb_store *user = owner;
	struct lmdb *lmdb = user->lmdb;

	user->ticks++;
	for (size_t i = 0; i < LANES; i++) {
		check_lock(user, &lmdb->lanes[i]);
		if (user->ticks % READER_CHECK_TICKS == 0)
			mdb_reader_check(lmdb->lanes[i].env, NULL);
	}
	lmdb_cache_flush_reads(user);
	if (lmdb_cache_is_sweep_due(lmdb))
		submit_own(user, lmdb_own_call(user, lmdb_cache_sweep,
					       LANE_SHARED, NULL, 0));
}

/* ---- opening and closing ---- */

/* Made by the first one, for as long as the cache lives. A new cache begins
 * with the next effect: those that wait in the outbox were for the old one. */
static void find_secret(struct lmdb_batch *batch, uint64_t outbox)
{
	struct hash_secret *secret = &batch->lmdb->secret;
	struct store_bytes value;

	if (lmdb_get(batch, TABLE_SHARED, store_text("secret"), &value) &&
	    value.length == sizeof(*secret)) {
		memcpy(secret, value.data, sizeof(*secret));
		return;
	}
	MUST(getrandom(secret, sizeof(*secret), 0) == sizeof(*secret));
	batch->shared.applied = outbox;
	lmdb_put(batch, TABLE_SHARED, store_text("secret"),
		 store_bytes(secret, sizeof(*secret)));
}

static int set_up(struct lmdb *lmdb, struct problem *problem)
{
	struct lmdb_batch batch;

	lmdb_batch_begin(&batch, &lmdb->lanes[LANE_TASKS], false);
	uint64_t outbox = batch.tasks.outbox;
	int error = lmdb_batch_end(&batch);

	lmdb_batch_begin(&batch, &lmdb->lanes[LANE_SHARED], true);
	find_secret(&batch, outbox);
	if (error == 0)
		error = lmdb_batch_end(&batch);
	else
		DISCARD(lmdb_batch_end(&batch)); /* the first one is told */
	/* The first one to open finds only leases of the dead. */
	if (error == 0 && lmdb->is_first) {
		lmdb_batch_begin(&batch, &lmdb->lanes[LANE_TASKS], true);
		lmdb_tasks_take_back(&batch);
		error = lmdb_batch_end(&batch);
	}
	return error == 0 ? 0
			  : lmdb_open_failed(lmdb->tasks_path, error, problem);
}

static void free_environment(struct lmdb *lmdb)
{
	for (size_t i = 0; i < LANES; i++)
		lmdb_lane_stop(&lmdb->lanes[i]);
	lmdb_board_close(lmdb);
	for (size_t i = 0; i < LANES; i++)
		lmdb_lane_close(&lmdb->lanes[i]);
	lmdb_place_leave(lmdb);
	free(lmdb->tasks_path);
	free(lmdb->shared_path);
	free(lmdb);
}

static int open_lanes(struct lmdb *lmdb, const struct log *log,
		      struct problem *problem)
{
	struct lmdb_guard guard;
	int error = 0;

	lmdb_guard_start(&guard, lmdb, log);
	for (size_t i = 0; i < LANES && error == 0; i++)
		error = lmdb_lane_open(lmdb, (enum lmdb_lane_number)i, problem);
	if (error == 0)
		error = set_up(lmdb, problem);
	lmdb_guard_stop(&guard);
	return error;
}

static int open_environment(struct lmdb *lmdb, const char *path,
			    const struct log *log, struct problem *problem)
{
	int error = lmdb_place_find(lmdb, path, problem);

	if (error == 0)
		error = lmdb_board_open(lmdb, problem);
	if (error == 0)
		error = open_lanes(lmdb, log, problem);
	lmdb_place_opened(lmdb);
	return error;
}

static int find_environment(struct lmdb_store *user, const char *path,
			    struct problem *problem)
{
	struct lmdb *lmdb = lmdb_place_known(path);
	int error = 0;

	if (lmdb == NULL) {
		lmdb = mem_zalloc(sizeof(*lmdb));
		lmdb->opening_fd = lmdb->users_fd = -1;
		lmdb->options = user->store->options;
		error = open_environment(lmdb, path,
					 loop_log(user->store->loop), problem);
		lmdb->options.prefix = lmdb->options.volatile_path = NULL;
	}
	if (error < 0) {
		free_environment(lmdb);
		return error;
	}
	lmdb->users++;
	user->lmdb = lmdb;
	return 0;
}

/* Nothing of it is with the lanes. */
static void leave_environment(struct lmdb_store *user)
{
	if (user->peek != NULL)
		mdb_txn_abort(user->peek);
	lmdb_places_hold();
	lmdb_ear_close(user);
	if (--user->lmdb->users == 0)
		free_environment(user->lmdb);
	lmdb_places_release();
}

static void free_store(struct lmdb_store *user)
{
	lmdb_trays_close(user);
	lmdb_cache_reads_free(user);
	if (user->lmdb != NULL)
		leave_environment(user);
	timer_close(user->tick);
	timer_close(user->waiting);
	timer_close(user->locking);
	loop_undefer(&user->end_peek);
	loop_undefer(&user->look);
	loop_undefer(&user->say_ready);
	free(user);
}

static int open_store(struct lmdb_store *user, const char *path,
		      struct problem *problem)
{
	lmdb_places_hold();
	int error = find_environment(user, path, problem);

	if (error == 0)
		error = lmdb_ear_open(user, problem);
	lmdb_places_release();
	if (error < 0)
		return error;
	error = lmdb_trays_open(user);
	return error == 0 ? 0 : lmdb_open_failed(path, -error, problem);
}

static int lmdb_open(struct store *store, const struct store_url *url,
		     struct problem *problem)
{
	struct lmdb_store *user = mem_zalloc(sizeof(*user));

	user->store = store;
	user->wake_fd = -1;
	user->look.run = lmdb_wait_look;
	user->say_ready.run = say_ready;
	list_init(&user->waiters);
	list_init(&user->lock_waits);
	list_init(&user->ready);
	int error = open_store(user, url->path, problem);

	if (error < 0) {
		free_store(user);
		return error;
	}
	store->back_end = user;
	user->waiting =
		timer_open(store->loop, lmdb_wait_timed_out, user, false);
	user->locking = timer_open(store->loop, lmdb_lock_on_time, user, false);
	user->tick = timer_open(store->loop, on_tick, user, false);
	timer_start(user->tick, TICK_MS, TICK_MS);
	/* What an earlier process had not come to do. */
	if (user->lmdb->is_first)
		apply_outbox(user, NULL);
	return 0;
}

static void lmdb_close(struct store *store)
{
	struct lmdb_store *user = store->back_end;

	user->is_closing = true;
	timer_stop(user->tick);
	lmdb_cache_flush_reads(user);
	say_ready(&user->say_ready);
	lmdb_locks_end(user);
	lmdb_trays_recall(user);
	lmdb_all_came_back(user);
}

void lmdb_all_came_back(struct lmdb_store *user)
{
	struct store *store = user->store;

	if (!user->is_closing || !lmdb_trays_are_empty(user))
		return;
	free_store(user);
	store_closed(store);
}

const struct store_ops lmdb_ops = {
	.name = "lmdb",
	.open = lmdb_open,
	.close = lmdb_close,
	.submit = submit,
	.abandon = abandon,
	.peek = lmdb_cache_peek,
	.bus = &lmdb_bus_ops,
};
