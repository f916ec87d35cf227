/*
 * primary - the role of the process that has workers: slots, the pool, the
 * rolling reload, signals, pings.
 *
 * The primary stays dull: it starts, watches and replaces workers, and hands
 * connections over. It parses nothing a network client sent, and all it stores
 * is bounded.
 */
#pragma once
#include "cluster/cluster.h"
#include "cluster/worker.h"

struct board;
struct primary;

struct primary *primary_new(struct muster_cluster *cluster);
/* Ends nothing: workers that are left see their channel close. */
void primary_free(struct primary *primary); /* NULL is fine */

/* Before the first turn of the loop: fills the pool. */
void primary_start(struct primary *primary);

/* The public functions of the same names say the rest. */
int primary_setup(struct primary *primary,
		  const struct muster_settings *settings);
const struct muster_settings *primary_settings(const struct primary *primary);
int primary_fork(struct primary *primary, const char *const *env,
		 struct muster_worker **worker);
int primary_scale(struct primary *primary, int count);
int primary_reload(struct primary *primary, muster_reloaded_fn on_done,
		   void *arg);
int primary_disconnect(struct primary *primary, muster_done_fn on_done,
		       void *arg);
void primary_signal(struct primary *primary, int signal);

const struct board *primary_board(const struct primary *primary);
struct muster_worker *primary_find(struct primary *primary, int id);
struct muster_worker *primary_next(struct primary *primary, int after_id);
size_t primary_count(const struct primary *primary);
uint32_t primary_connections(const struct primary *primary,
			     const struct muster_worker *worker);
