/*
 * keeper - prolongs the leases of what runs, from a thread of its own, with a
 * loop and a store of its own: however long the node's thread is blocked, no
 * lease is lost.
 *
 * The thread lives only while there are leases, or were a moment ago, and opens
 * its store when the first one is old enough to be prolonged: short runs cost
 * no more than a place in a list. Its owner's thread alone calls what is here;
 * the flags of a lease may be read from any.
 */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "loop/loop.h"
#include "store/store.h"

struct keeper;

struct keeper_lease {
	struct list link;
	const char *id; /* as long as it is kept */
	uint64_t token;
	uint64_t until_ms; /* no longer than that, by keeper_now_ms(); 0 */
	uint64_t renewed_ms;
	atomic_bool is_fenced;    /* it is lost */
	atomic_bool is_cancelled; /* its task is to stop */
	_Atomic uint64_t sure_until_ms;
};

struct keeper_settings {
	const char *store_url; /* texts outlive the keeper */
	struct store_options store;
	uint32_t lease_ms;
	/* Flags of some lease have changed. From the owner's loop. */
	void (*on_news)(void *owner);
	void *owner;
};

struct keeper *keeper_new(struct loop *loop, const struct log *log,
			  const struct keeper_settings *settings);
/* Prolongs nothing more; waits until the thread has ended. NULL is fine. */
void keeper_free(struct keeper *keeper);

/* `lease` was just given for lease_ms. */
void keeper_add(struct keeper *keeper, struct keeper_lease *lease);
/* Fine if it has lost it, or never had it. */
void keeper_remove(struct keeper *keeper, struct keeper_lease *lease);

/* Is there a thread? For tests. */
bool keeper_is_running(struct keeper *keeper);

/* Monotonic, going on while the host sleeps. */
uint64_t keeper_now_ms(void);
