/*
 * meters - numbers that one process writes and others on its host read, so that
 * whoever is asked can tell of all of them: what /metrics shows.
 *
 * A process writes its own, from one thread; they lie on the board that a
 * primary shares with its workers (cluster/board.h), or where there is none in
 * memory of its own. Counters outlive the process that counted, whose successor
 * counts on, so that sums never fall; gauges are its own.
 */
#pragma once
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define METER_STATUSES 40
#define METER_BUCKETS  15

enum meter {
	/* Gauges: what there is now. */
	METER_CONNECTIONS, /* HTTP */
	METER_ACTIONS,
	METER_TASKS,
	METER_GAUGES,

	METER_TASKS_DONE = METER_GAUGES,
	METER_TASKS_FAILED,
	METER_CACHE_HITS,
	METER_CACHE_MISSES,
	METER_MESSAGES_SENT,
	METER_MESSAGES_DELIVERED,
	METER_HTTP_STATUS, /* see web_metrics.c for which */
	METER_HTTP_BUCKET = METER_HTTP_STATUS + METER_STATUSES,
	METER_HTTP_US = METER_HTTP_BUCKET + METER_BUCKETS,
	METERS
};

typedef _Atomic uint64_t meter_value;

/* Nobody else writes: no lock, no more than a load and a store. */
static inline void meter_set(meter_value *meters, size_t which, uint64_t value)
{
	atomic_store_explicit(&meters[which], value, memory_order_relaxed);
}

static inline uint64_t meter_get(const meter_value *meters, size_t which)
{
	return atomic_load_explicit(&meters[which], memory_order_relaxed);
}

static inline void meter_add(meter_value *meters, size_t which, uint64_t by)
{
	meter_set(meters, which, meter_get(meters, which) + by);
}
