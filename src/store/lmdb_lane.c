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
/* Below it a store is refused rather than made smaller; in bytes. */
#define SMALLEST_MAP ((uint64_t)1 << 30)

/* ---- errors ---- */

void lmdb_fail_nearly_full(struct store_call *call, int error)
{
	if (error == MDB_MAP_FULL)
		store_call_fail(call, -ENOSPC, "STORE_NEARLY_FULL",
				"the embedded store is nearly full, and the "
				"rest is for what it has (let tasks be done, "
				"or give it more room)");
	else
		store_call_fail(call, -ENOSPC, "STORE_NEARLY_FULL",
				"the disk of the embedded store is full, but "
				"for what it needs to complete tasks (make "
				"room there)");
}

void lmdb_fail(struct store_call *call, int error)
{
	if (error == MDB_MAP_FULL)
		store_call_fail(call, -ENOSPC, "STORE_FULL",
				"the embedded store is full (remove tasks, or "
				"give it more room)");
	else if (error == ENOSPC || error == EDQUOT)
		store_call_fail(call, -ENOSPC, "STORE_FULL",
				"the disk of the embedded store is full (make "
				"room there)");
	else if (error == MDB_PANIC)
		store_call_fail(call, -EIO, "STORE_FAILED",
				"the disk failed while the embedded store was "
				"written to (see the kernel's log, then start "
				"again)");
	else if (error == MDB_CORRUPTED || error == MDB_PAGE_NOTFOUND ||
		 error == MDB_VERSION_MISMATCH || error == MDB_INVALID ||
		 error == MDB_BAD_TXN)
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

static enum lmdb_lane_number lane_of(const struct store_call *call)
{
	return operation_of(call)->lane;
}

static bool is_writing(const struct store_call *call)
{
	/* Loading writes where it prolongs. */
	if (call->operation == STORE_CACHE_LOAD_CALL)
		return ((const struct store_cache_load *)call->request)
			       ->slide_ms != 0;
	if (call->operation == STORE_AUDIT_CALL)
		return ((const struct store_audit *)call->request)
			->is_repairing;
	return operation_of(call)->is_writing;
}

static void run_call(struct lmdb_batch *batch, struct store_call *call)
{
	const struct lmdb_operation *operation = operation_of(call);

	call->answer = (struct store_answer){ 0 };
	if (operation->needs_room && batch->full != 0)
		lmdb_fail_nearly_full(call, batch->full);
	else
		operation->run(batch, call);
}

/* What the transaction made runnable is somebody's to claim only now. */
static void wake(struct lmdb_lane *lane, const struct lmdb_batch *batch)
{
	if (batch->wakes != 0)
		lmdb_board_wake(lane->lmdb->board, batch->wakes,
				batch->wake_count);
	if (batch->lock_wakes != 0)
		lmdb_board_wake_locks(lane->lmdb->board, batch->lock_wakes);
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

/* Each to whoever asked. The lane's mutex is held: a store that goes cannot be
 * gone before this has let go of it. */
static void give_back(struct list *calls)
{
	struct list *link;

	while ((link = list_first(calls)) != NULL) {
		struct store_call *call =
			LIST_ENTRY(link, struct store_call, back_link);
		struct lmdb_store *user = call->store->back_end;
		enum lmdb_lane_number lane = lane_of(call);
		uint64_t one = 1;

		list_remove(link);
		bool was_told = !list_is_empty(&user->trays[lane].finished);

		list_add_last(&user->trays[lane].finished, link);
		/* Only a full counter could refuse it, and then it is awake. */
		if (!was_told)
			DISCARD(write(user->wake_fd, &one, sizeof(one)));
	}
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
		give_back(&calls);
	}
	pthread_mutex_unlock(&lane->mutex);
	return NULL;
}

/* ---- the loop's side ---- */

static void run_hand_over(struct loop_task *task)
{
	struct lmdb_tray *tray = LIST_ENTRY(task, struct lmdb_tray, hand_over);
	struct lmdb_lane *lane = tray->lane;

	pthread_mutex_lock(&lane->mutex);
	move_some(&tray->gathered, &lane->pending, SIZE_MAX);
	pthread_cond_signal(&lane->has_work);
	pthread_mutex_unlock(&lane->mutex);
}

void lmdb_submit(struct lmdb_store *user, enum lmdb_lane_number lane,
		 struct store_call *call)
{
	struct lmdb_tray *tray = &user->trays[lane];

	tray->away++;
	list_add_last(&tray->gathered, &call->back_link);
	loop_defer(user->store->loop, &tray->hand_over);
}

static void take_finished(struct lmdb_store *user, struct list *calls)
{
	for (size_t i = 0; i < LANES; i++) {
		struct lmdb_tray *tray = &user->trays[i];

		pthread_mutex_lock(&tray->lane->mutex);
		move_some(&tray->finished, calls, SIZE_MAX);
		pthread_mutex_unlock(&tray->lane->mutex);
	}
}

static void on_finished(void *owner)
{
	struct lmdb_store *user = owner;
	uint64_t count;
	struct list calls;
	struct list *link;

	DISCARD(read(user->wake_fd, &count, sizeof(count))); /* resets it */
	list_init(&calls);
	take_finished(user, &calls);
	/* Whoever is answered may look, and has to see what was committed. */
	lmdb_cache_stop_peeking(user);
	while ((link = list_first(&calls)) != NULL) {
		struct store_call *call =
			LIST_ENTRY(link, struct store_call, back_link);

		list_remove(link);
		user->trays[lane_of(call)].away--;
		lmdb_came_back(user, call);
	}
	lmdb_all_came_back(user);
}

bool lmdb_trays_are_empty(const struct lmdb_store *user)
{
	for (size_t i = 0; i < LANES; i++)
		if (user->trays[i].away > 0)
			return false;
	return true;
}

/* Of one store; its own work stays where it is. */
static void recall(struct list *from, const struct store *store,
		   struct list *undone)
{
	LIST_EACH (from, link) {
		const struct store_call *call =
			LIST_ENTRY(link, struct store_call, back_link);

		if (call->store != store || call->operation == STORE_OWN_CALL)
			continue;
		list_remove(link);
		list_add_last(undone, link);
	}
}

void lmdb_trays_recall(struct lmdb_store *user)
{
	for (size_t i = 0; i < LANES; i++) {
		struct lmdb_tray *tray = &user->trays[i];
		struct list undone;

		list_init(&undone);
		recall(&tray->gathered, user->store, &undone);
		pthread_mutex_lock(&tray->lane->mutex);
		recall(&tray->lane->pending, user->store, &undone);
		give_back(&undone);
		pthread_mutex_unlock(&tray->lane->mutex);
	}
}

int lmdb_trays_open(struct lmdb_store *user)
{
	user->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (user->wake_fd < 0)
		return -errno;
	int error = watch_open(user->store->loop, user->wake_fd, on_finished,
			       user, &user->watch);

	if (error < 0)
		return error;
	watch_set_keeps_alive(user->watch, false);
	watch_start(user->watch);
	for (size_t i = 0; i < LANES; i++) {
		struct lmdb_tray *tray = &user->trays[i];

		tray->user = user;
		tray->lane = &user->lmdb->lanes[i];
		tray->hand_over.run = run_hand_over;
		list_init(&tray->gathered);
		list_init(&tray->finished);
	}
	return 0;
}

void lmdb_trays_close(struct lmdb_store *user)
{
	for (size_t i = 0; i < LANES; i++)
		loop_undefer(&user->trays[i].hand_over);
	watch_close(user->watch);
	if (user->wake_fd >= 0)
		close(user->wake_fd);
	user->wake_fd = -1;
}

/* ---- opening and closing ---- */

void lmdb_lane_stop(struct lmdb_lane *lane)
{
	if (!lane->has_thread)
		return;
	pthread_mutex_lock(&lane->mutex);
	MUST(list_is_empty(&lane->pending));
	lane->is_stopping = true;
	pthread_cond_signal(&lane->has_work);
	pthread_mutex_unlock(&lane->mutex);
	MUST(pthread_join(lane->thread, NULL) == 0);
	lane->has_thread = false;
}

void lmdb_lane_close(struct lmdb_lane *lane)
{
	if (lane->env == NULL)
		return;
	pthread_mutex_destroy(&lane->mutex);
	pthread_cond_destroy(&lane->has_work);
	mdb_env_close(lane->env);
	lane->env = NULL;
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

/*
 * As much address space as there is for it: `ulimit -v` and valgrind leave less
 * than what costs nothing elsewhere.
 */
static int open_env_that_fits(struct lmdb_lane *lane, const char *path,
			      uint64_t bytes, unsigned flags)
{
	int error;

	while ((error = open_env(lane, path, bytes, flags)) != 0 &&
	       (error == ENOMEM || error == EINVAL) &&
	       bytes / 2 >= SMALLEST_MAP) {
		mdb_env_close(lane->env);
		lane->env = NULL;
		bytes /= 2;
	}
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
	list_init(&lane->pending);
	MUST(pthread_create(&lane->thread, NULL, run_thread, lane) == 0);
	lane->has_thread = true;
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
	const struct store_options *options = &lmdb->options;
	bool is_tasks = number == LANE_TASKS;
	const char *path = is_tasks ? lmdb->tasks_path : lmdb->shared_path;

	lane->lmdb = lmdb;
	lane->number = number;
	int error = open_env_that_fits(
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

struct store_call *lmdb_own_call(struct lmdb_store *user, lmdb_run_fn run,
				 enum lmdb_lane_number lane, const void *detail,
				 size_t size)
{
	struct store_call *call = store_call_new(user->store, STORE_OWN_CALL);
	struct lmdb_own *own = arena_take_zeroed(&call->arena, 1, sizeof(*own));

	own->operation.run = run;
	own->operation.lane = lane;
	own->operation.is_writing = true;
	own->detail = arena_copy(&call->arena, detail, size).data;
	call->request = own;
	return call;
}
