#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/watch.h"
#include "store/lmdb_internal.h"

/* The most that one transaction carries: it holds the lock meanwhile. */
#define BATCH_MAX 512
#define READERS   1024

/* ---- errors ---- */

void lmdb_fail(struct store_call *call, int error)
{
	if (error == MDB_MAP_FULL || error == ENOSPC)
		store_call_fail(call, -ENOSPC, "STORE_FULL",
				"the embedded store is full (remove tasks, or "
				"give it more room)");
	else if (error == MDB_CORRUPTED || error == MDB_PAGE_NOTFOUND ||
		 error == MDB_PANIC || error == MDB_VERSION_MISMATCH ||
		 error == MDB_INVALID || error == MDB_BAD_TXN)
		store_call_fail(
			call, -EIO, "STORE_DAMAGED",
			"the embedded store cannot be read: %s (restore "
			"it from a copy)",
			mdb_strerror(error));
	else
		store_call_fail(call, error > 0 ? -error : -EIO, "STORE_FAILED",
				"the embedded store failed: %s",
				mdb_strerror(error));
}

int lmdb_open_failed(const char *path, int error, struct problem *problem)
{
	if (error == MDB_INVALID || error == MDB_CORRUPTED ||
	    error == MDB_VERSION_MISMATCH)
		return problem_set(problem, -EINVAL, "STORE_DAMAGED",
				   "%s is no store of ours, or damaged: %s "
				   "(move it away, or restore it from a copy)",
				   path, mdb_strerror(error));
	return problem_set(problem, error > 0 ? -error : -EIO,
			   "STORE_OPEN_FAILED", "cannot open %s: %s", path,
			   mdb_strerror(error));
}

/* ---- the thread ---- */

static void move_some(struct list *from, struct list *to, size_t most)
{
	struct list *link;

	while (most-- > 0 && (link = list_first(from)) != NULL) {
		list_remove(link);
		list_add_last(to, link);
	}
}

static const struct lmdb_operation *operation_of(const struct store_call *call)
{
	if (call->operation == STORE_OWN_CALL)
		return &((const struct lmdb_own *)call->request)->operation;
	return &lmdb_operations[call->operation];
}

static bool is_writing(const struct store_call *call)
{
	/* Loading writes where it prolongs. */
	if (call->operation == STORE_CACHE_LOAD_CALL)
		return ((const struct store_cache_load *)call->request)
			       ->slide_ms != 0;
	return operation_of(call)->is_writing;
}

static void run_call(struct lmdb_batch *batch, struct store_call *call)
{
	const struct lmdb_operation *operation = operation_of(call);

	call->answer = (struct store_answer){ 0 };
	if (operation->needs_room && batch->is_full)
		lmdb_fail(call, MDB_MAP_FULL);
	else
		operation->run(batch, call);
}

/* What the transaction made runnable is somebody's to claim only now. */
static void wake(struct lmdb_lane *lane, const struct lmdb_batch *batch)
{
	if (batch->wakes != 0)
		lmdb_board_wake(lane->lmdb->board, batch->wakes,
				batch->wake_count);
}

static int run_together(struct lmdb_lane *lane, struct list *calls,
			bool is_writing)
{
	struct lmdb_batch batch;

	lmdb_batch_begin(&batch, lane, is_writing);
	for (struct list *link = calls->next; link != calls && batch.error == 0;
	     link = link->next)
		run_call(&batch,
			 LIST_ENTRY(link, struct store_call, back_link));
	int error = lmdb_batch_end(&batch);

	if (error == 0)
		wake(lane, &batch);
	return error;
}

/* A batch that failed as a whole did nothing. Each of its calls is tried by
 * itself, so that only those fail that cannot be done. */
static void run_apart(struct lmdb_lane *lane, struct list *calls)
{
	struct list done;
	struct list *link;

	list_init(&done);
	while ((link = list_first(calls)) != NULL) {
		struct store_call *call =
			LIST_ENTRY(link, struct store_call, back_link);
		struct list alone;

		list_remove(link);
		list_init(&alone);
		list_add_last(&alone, link);
		int error = run_together(lane, &alone, is_writing(call));

		if (error != 0)
			lmdb_fail(call, error);
		list_remove(link);
		list_add_last(&done, link);
	}
	move_some(&done, calls, SIZE_MAX);
}

static void run_batch(struct lmdb_lane *lane, struct list *calls)
{
	bool has_writes = false;

	LIST_EACH (calls, link)
		has_writes |= is_writing(
			LIST_ENTRY(link, struct store_call, back_link));
	if (run_together(lane, calls, has_writes) == 0)
		return;
	/* Slots of readers that died keep old pages from being used again. */
	mdb_reader_check(lane->env, NULL);
	run_apart(lane, calls);
}

static void announce(struct lmdb_lane *lane)
{
	uint64_t one = 1;

	/* Only a full counter could refuse it, and then it is awake. */
	DISCARD(write(lane->wake_fd, &one, sizeof(one)));
}

static void *run_thread(void *argument)
{
	struct lmdb_lane *lane = argument;
	struct list calls;

	list_init(&calls);
	pthread_mutex_lock(&lane->mutex);
	for (;;) {
		while (list_is_empty(&lane->pending) && !lane->is_stopping)
			pthread_cond_wait(&lane->has_work, &lane->mutex);
		if (list_is_empty(&lane->pending))
			break;
		move_some(&lane->pending, &calls, BATCH_MAX);
		pthread_mutex_unlock(&lane->mutex);
		run_batch(lane, &calls);
		pthread_mutex_lock(&lane->mutex);
		move_some(&calls, &lane->finished, BATCH_MAX);
		announce(lane);
	}
	lane->has_stopped = true;
	announce(lane);
	pthread_mutex_unlock(&lane->mutex);
	return NULL;
}

/* ---- the loop's side ---- */

static void run_hand_over(struct loop_task *task)
{
	struct lmdb_lane *lane = LIST_ENTRY(task, struct lmdb_lane, hand_over);

	pthread_mutex_lock(&lane->mutex);
	move_some(&lane->gathered, &lane->pending, SIZE_MAX);
	pthread_cond_signal(&lane->has_work);
	pthread_mutex_unlock(&lane->mutex);
}

void lmdb_lane_submit(struct lmdb_lane *lane, struct store_call *call)
{
	list_add_last(&lane->gathered, &call->back_link);
	loop_defer(lane->lmdb->store->loop, &lane->hand_over);
}

static void join(struct lmdb_lane *lane)
{
	MUST(pthread_join(lane->thread, NULL) == 0);
	lane->has_thread = false;
}

static void on_finished(void *owner)
{
	struct lmdb_lane *lane = owner;
	struct lmdb *lmdb = lane->lmdb;
	uint64_t count;
	struct list calls;
	struct list *link;

	DISCARD(read(lane->wake_fd, &count, sizeof(count))); /* resets it */
	list_init(&calls);
	pthread_mutex_lock(&lane->mutex);
	move_some(&lane->finished, &calls, SIZE_MAX);
	bool has_stopped = lane->has_stopped;

	pthread_mutex_unlock(&lane->mutex);
	/* Whoever is answered may look, and has to see what was committed. */
	lmdb_cache_stop_peeking(lmdb);
	while ((link = list_first(&calls)) != NULL) {
		list_remove(link);
		lmdb_came_back(lmdb,
			       LIST_ENTRY(link, struct store_call, back_link));
	}
	if (!has_stopped)
		return;
	join(lane);
	watch_close(lane->watch);
	lane->watch = NULL;
	lmdb_lane_stopped(lmdb);
}

void lmdb_lane_stop(struct lmdb_lane *lane)
{
	/* What has not begun is nobody's any more. */
	pthread_mutex_lock(&lane->mutex);
	loop_undefer(&lane->hand_over);
	move_some(&lane->gathered, &lane->finished, SIZE_MAX);
	move_some(&lane->pending, &lane->finished, SIZE_MAX);
	lane->is_stopping = true;
	pthread_cond_signal(&lane->has_work);
	pthread_mutex_unlock(&lane->mutex);
}

void lmdb_lane_stop_now(struct lmdb_lane *lane)
{
	lmdb_lane_stop(lane);
	join(lane);
	watch_close(lane->watch);
}

static int open_env(struct lmdb_lane *lane, const char *path, uint64_t bytes,
		    unsigned flags)
{
	int error = mdb_env_create(&lane->env);

	if (error != 0)
		return error;
	error = mdb_env_set_maxreaders(lane->env, READERS);
	if (error == 0)
		error = mdb_env_set_maxdbs(lane->env, TABLES);
	if (error == 0)
		error = mdb_env_set_mapsize(lane->env, bytes);
	if (error == 0)
		error = mdb_env_open(lane->env, path,
				     flags | MDB_NOTLS | MDB_NORDAHEAD, 0600);
	if (error == 0)
		mdb_reader_check(lane->env, NULL);
	return error;
}

static int open_tables(struct lmdb *lmdb, struct lmdb_lane *lane)
{
	static const struct {
		const char *name;
		enum lmdb_lane_number lane;
	} tables[TABLES] = {
#define TABLE_ENTRY(NAME, LANE) { #NAME, LANE_##LANE },
		LMDB_TABLES(TABLE_ENTRY)
#undef TABLE_ENTRY
	};
	MDB_txn *txn;
	int error = mdb_txn_begin(lane->env, NULL, 0, &txn);

	if (error != 0)
		return error;
	for (size_t i = 0; i < TABLES && error == 0; i++)
		if (tables[i].lane == lane->number)
			error = mdb_dbi_open(txn, tables[i].name, MDB_CREATE,
					     &lmdb->tables[i]);
	if (error == 0)
		return mdb_txn_commit(txn);
	mdb_txn_abort(txn);
	return error;
}

static void start_thread(struct lmdb_lane *lane)
{
	pthread_mutex_init(&lane->mutex, NULL);
	pthread_cond_init(&lane->has_work, NULL);
	list_init(&lane->gathered);
	list_init(&lane->pending);
	list_init(&lane->finished);
	lane->hand_over.run = run_hand_over;
	lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	MUST(lane->wake_fd >= 0);
	MUST(watch_open(lane->lmdb->store->loop, lane->wake_fd, on_finished,
			lane, &lane->watch) == 0);
	watch_set_keeps_alive(lane->watch, false);
	watch_start(lane->watch);
	MUST(pthread_create(&lane->thread, NULL, run_thread, lane) == 0);
	lane->has_thread = true;
	lane->lmdb->lanes_open++;
}

int lmdb_lane_open(struct lmdb *lmdb, enum lmdb_lane_number number,
		   struct problem *problem)
{
	static const unsigned modes[] = {
		[STORE_NORMAL] = MDB_NOMETASYNC,
		[STORE_DURABLE] = 0,
		[STORE_FAST] = MDB_NOSYNC | MDB_NOMETASYNC,
	};
	struct lmdb_lane *lane = &lmdb->lanes[number];
	const struct store_options *options = &lmdb->store->options;
	bool is_tasks = number == LANE_TASKS;
	const char *path = is_tasks ? lmdb->tasks_path : lmdb->shared_path;

	lane->lmdb = lmdb;
	lane->number = number;
	int error = open_env(
		lane, path, is_tasks ? lmdb->map_bytes : lmdb->shared_bytes,
		modes[is_tasks ? options->durability : STORE_FAST]);

	if (error == 0)
		error = open_tables(lmdb, lane);
	if (error != 0) {
		if (lane->env != NULL)
			mdb_env_close(lane->env);
		lane->env = NULL;
		return lmdb_open_failed(path, error, problem);
	}
	start_thread(lane);
	return 0;
}

struct store_call *lmdb_own_call(struct lmdb *lmdb, lmdb_run_fn run,
				 enum lmdb_lane_number lane, const void *detail,
				 size_t size)
{
	struct store_call *call = store_call_new(lmdb->store, STORE_OWN_CALL);
	struct lmdb_own *own = arena_take_zeroed(&call->arena, 1, sizeof(*own));

	own->operation.run = run;
	own->operation.lane = lane;
	own->operation.is_writing = true;
	own->detail = arena_copy(&call->arena, detail, size).data;
	call->request = own;
	return call;
}
