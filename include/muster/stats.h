/*
 * muster/stats.h - numbers that the servers of a cluster have in common.
 *
 *     muster_stat_add(muster, "mails.sent", 1);
 *     muster_stat_set(muster, "queue.length", length);
 *
 * A counter is added to, by any server, and stays when that is gone. A gauge
 * is as each server last set it; one that is gone has none. Both are kept in
 * memory and told the store once a second, in one step, and when the node
 * ends: what is asked for may be that old, and a crash loses that much. What
 * is told counts once, whatever is lost on the way.
 *
 * Names have 1 to 48 bytes, without control bytes and '|', and do not begin
 * with '@'.
 */
#ifndef MUSTER_STATS_H
#define MUSTER_STATS_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster;

/* From anywhere on the node's thread; never waits. A name that is none, or is
 * of the other kind by now, is logged once and not counted, as are more than
 * 10,000 names. */
MUSTER_PUBLIC void muster_stat_add(struct muster *muster, const char *name,
				   int64_t delta);
MUSTER_PUBLIC void muster_stat_set(struct muster *muster, const char *name,
				   int64_t value);

struct muster_stat {
	const char *name;
	int64_t value;
	bool is_gauge;
};

struct muster_stat_list {
	const struct muster_stat *stats; /* by name */
	size_t count;
};

/* Those whose names begin with `prefix` ("" or NULL: all): of one server, or,
 * with NULL, of all of them together. This node's own are told first. On a
 * fiber. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_stats(struct muster *muster,
						const char *server,
						const char *prefix,
						struct muster_stat_list *list);

#ifdef __cplusplus
}
#endif

#endif
