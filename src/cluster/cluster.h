/*
 * cluster - what a primary and a worker have in common: the loop, the options,
 * the callbacks, the last problem.
 *
 * Exactly one of `primary` and `self` is there. src/app builds on this header
 * as well; applications see include/muster/cluster.h.
 */
#pragma once
#include <muster/cluster.h>
#include <stdbool.h>

#include "base/list.h"
#include "base/log.h"
#include "base/problem.h"
#include "cluster/events.h"
#include "cluster/settings.h"
#include "loop/loop.h"

struct board;
struct primary;
struct self;
struct signals;

/* Something that lives with the cluster, embedded in its owner. */
struct cluster_part {
	struct list link;
	void (*on_drain)(
		struct cluster_part *part); /* told to go; may be NULL */
	void (*on_close)(struct cluster_part *part); /* let go of the loop */
	/* Another worker of this cluster has ended; may be NULL. */
	void (*on_died)(struct cluster_part *part, int pid);
};

struct muster_cluster {
	struct loop *loop;
	struct log log;
	struct muster_options options;  /* without zeros; texts are not kept */
	struct settings first_settings; /* those of the options */
	char *name;
	char *const *argv; /* the caller's, until the first setup */
	struct problem problem;
	struct handlers handlers;
	struct list parts;
	struct list timers;
	struct list listeners;
	uint32_t holds; /* connections that are being served, and nodes */
	uint32_t nodes; /* how many of them; see src/app/open.c */
	struct signals *signals;
	int exit_code;
	bool is_stopped;
	bool has_run;
	/* Counts the programs that workers were set up to be, and says whether
	 * one that is the last of them is known to say hello. */
	uint32_t program;
	bool program_speaks;
	struct primary *primary;
	struct self *self;
};

void cluster_add_part(struct muster_cluster *cluster,
		      struct cluster_part *part);
void cluster_remove_part(struct cluster_part *part); /* fine if absent */

/* Somebody still serves: the process does not leave until release. */
void cluster_hold(struct muster_cluster *cluster);
void cluster_release(struct muster_cluster *cluster);

/* Tells the parts, once, that it is time to finish. */
void cluster_drain_parts(struct muster_cluster *cluster);
/* The memory that the primary and its workers share. */
const struct board *cluster_board(const struct muster_cluster *cluster);
void cluster_tell_died(struct muster_cluster *cluster, int pid);
