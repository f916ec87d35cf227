/*
 * lmdb_guard - looks after stopped writers while an environment is opened: that
 * takes its locks on the caller's thread, where nothing else would.
 */
#pragma once
#include <pthread.h>
#include <stdbool.h>

#include "base/log.h"

struct lmdb;

struct lmdb_guard {
	struct lmdb *lmdb;
	const struct log *log;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards is_over */
	pthread_cond_t end;
	bool is_over;
};

/* From when the board is open; every start is followed by a stop. */
void lmdb_guard_start(struct lmdb_guard *guard, struct lmdb *lmdb,
		      const struct log *log);
void lmdb_guard_stop(struct lmdb_guard *guard);
