#include "store/lmdb_guard.h"

#include <time.h>

#include "base/must.h"
#include "store/lmdb_internal.h"

#define LOOK_EVERY_MS 500

static void wait_a_while(struct lmdb_guard *guard)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_EVERY_MS * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	DISCARD(pthread_cond_timedwait(&guard->end, &guard->mutex,
				       &until)); /* either is looked at */
}

static void *run(void *arg)
{
	struct lmdb_guard *guard = arg;

	pthread_mutex_lock(&guard->mutex);
	for (;;) {
		wait_a_while(guard);
		if (guard->is_over)
			break;
		for (int i = 0; i < LANES; i++)
			lmdb_board_watch(guard->lmdb, (enum lmdb_lane_number)i,
					 guard->log);
	}
	pthread_mutex_unlock(&guard->mutex);
	return NULL;
}

void lmdb_guard_start(struct lmdb_guard *guard, struct lmdb *lmdb,
		      const struct log *log)
{
	pthread_condattr_t clock;

	*guard = (struct lmdb_guard){ .lmdb = lmdb, .log = log };
	pthread_mutex_init(&guard->mutex, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&guard->end, &clock);
	pthread_condattr_destroy(&clock);
	MUST(pthread_create(&guard->thread, NULL, run, guard) == 0);
}

void lmdb_guard_stop(struct lmdb_guard *guard)
{
	pthread_mutex_lock(&guard->mutex);
	guard->is_over = true;
	pthread_cond_signal(&guard->end);
	pthread_mutex_unlock(&guard->mutex);
	pthread_join(guard->thread, NULL);
	pthread_cond_destroy(&guard->end);
	pthread_mutex_destroy(&guard->mutex);
}
