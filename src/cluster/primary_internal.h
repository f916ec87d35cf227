/* What primary.c and primary_*.c share. */
#pragma once
#include "cluster/board.h"
#include "cluster/handover.h"
#include "cluster/listeners.h"
#include "cluster/primary.h"
#include "loop/timer.h"

#define SLOTS_MAX 1024

/* A slot that lost a young worker waits before it gets the next one. */
struct slot {
	struct muster_worker *holder;
	uint32_t young_deaths; /* in a row */
	uint64_t not_before_ms;
	uint32_t failures; /* within the window that began at... */
	uint64_t window_ms;
};

struct pool {
	int wanted;
	bool is_on;          /* kept at `wanted`; else the application forks */
	bool is_paused;      /* WINCH: none, until HUP or TTIN */
	struct timer *timer; /* the next slot's not_before_ms */
	struct loop_task fill;
};

struct reload {
	bool is_running;
	uint64_t generation; /* workers started before are to be replaced */
	int failure;         /* the code that ended it; 0 */
	muster_reloaded_fn on_done;
	void *arg;
	struct loop_task step;
};

struct primary {
	struct muster_cluster *cluster;
	struct settings settings;
	bool is_set_up;
	struct board *board;
	int board_descriptor;
	struct handover *handover;
	struct notify *notify; /* NULL: there is none */
	struct listeners *listeners;
	struct slot slots[SLOTS_MAX + 1]; /* by id; 0 is not used */
	struct list workers;          /* all, gone ones until they are freed */
	size_t worker_count;          /* those that have not exited */
	uint8_t berths[BOARD_BERTHS]; /* 1: in use */
	struct pool pool;
	struct reload reload;
	struct timer *ping;
	struct timer *tickets;
	struct timer *sweep; /* primary_sweep(), when all have settled */
	bool is_stopping;
	struct list done; /* of struct waiting_done */
	struct loop_task check_done;
	struct list setups; /* of struct setup_told */
	struct loop_task tell_setups;
	unsigned short
		columns; /* of the terminal, when it was last looked at */
	unsigned short rows;
};

/* Starts a worker for a slot; `predecessor` (may be NULL) keeps the slot until
 * the new one is ready. */
int primary_start_worker(struct primary *primary, int id,
			 const char *const *env,
			 struct muster_worker *predecessor,
			 struct muster_worker **worker);
void primary_stop_all(struct primary *primary);
/* Closes the listeners that nobody has, once nobody who is there, or is
 * expected, may still ask for them: what is queued there waits for whoever
 * replaces a worker that died. */
void primary_sweep(struct primary *primary);

void pool_init(struct primary *primary);
void pool_fini(struct primary *primary);
void pool_on_exited(struct primary *primary, struct muster_worker *worker);
void pool_on_ready(struct primary *primary, struct muster_worker *worker);
/* Soon: starts what is missing, sends off what is too many. */
void pool_fill(struct primary *primary);
bool pool_is_short(const struct primary *primary);

void reload_init(struct primary *primary);
void reload_fini(struct primary *primary);
void reload_on_ready(struct primary *primary, struct muster_worker *worker);
void reload_on_left(struct primary *primary, struct muster_worker *worker);
void reload_on_exited(struct primary *primary, struct muster_worker *worker);
void reload_cancel(struct primary *primary);

/* A terminal's window of another size than this is not an operator's WINCH. */
void primary_remember_window(struct primary *primary);
