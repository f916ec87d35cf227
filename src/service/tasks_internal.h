/* tasks_internal - what the files of tasks have in common. */
#pragma once
#include "base/arena.h"
#include "base/fiber.h"
#include "base/list.h"
#include "service/keeper.h"
#include "service/task_envelope.h"
#include "service/tasks.h"
#include "store/store.h"

struct routine;
struct schedule;
struct timer;

#define TASK_NAME_MAX 100
#define TASK_ATTEMPTS 25

/* A task of the application, and how many of it run here. */
struct known_task {
	const struct muster_task *task;
	uint32_t running;
};

struct tasks {
	struct muster *muster;
	struct known_task *known;
	size_t known_count;
	char *owner; /* of this life's leases */
	struct store_bytes queues[STORE_QUEUES_MAX];
	size_t queue_count;
	uint32_t concurrency;
	uint32_t lease_ms;
	struct keeper *keeper; /* NULL until the first job */
	struct list jobs;      /* all that there are, by `link` */
	struct list ready;     /* claimed, to be started, by `stage` */
	struct list ended;     /* to be told to the store, by `stage` */
	size_t held;           /* ready, or running */
	struct loop_task turn;
	bool is_open; /* takes tasks */
	bool is_over; /* the store is closed, or will be */

	/* ---- tasks_claim.c ---- */
	bool is_claiming;
	bool is_waiting;
	/* A claim's answer was lost: the store may have leased to us what we do
	 * not know of. */
	bool is_unsure;
	unsigned failures; /* of the store, in a row */
	unsigned empties;  /* wakes in a row that found nothing */
	struct timer *pause;

	/* ---- tasks_tell.c ---- */
	size_t tellings; /* under way */
	struct timer *tell_again;
	bool is_store_away; /* as was logged */

	/* ---- tasks_adopt.c ---- */
	uint64_t adopt_ms;
	struct timer *adopt;
	bool is_adopting;

	struct fiber_wait idle_wait; /* who waits until nothing is held, told */
	struct schedule *schedule;   /* NULL: nothing recurs */
};

enum job_outcome {
	JOB_DONE,
	JOB_FAILED,
	JOB_DEAD, /* failed, and no attempt can help */
	JOB_RELEASED,
};

struct muster_job {
	struct list link;
	struct list stage;
	struct tasks *tasks;
	struct known_task *known;
	struct routine *routine; /* while its function runs */
	struct keeper_lease lease;
	struct arena arena; /* what is below points into it */
	struct store_bytes id;
	struct store_bytes queue;
	struct task_envelope envelope;
	char *params;
	uint32_t attempt;
	uint32_t max_attempts;
	struct timer *timeout;
	bool is_late;        /* ran for longer than it may */
	bool is_told_fenced; /* its wait was ended */
	bool is_told_cancelled;
	bool has_ended;  /* `outcome` counts */
	bool is_told;    /* to the store, which has answered */
	bool tell_alone; /* the store refused a batch that it was in */
	/* What it said of itself: counts where it is not done. */
	bool has_verdict;
	enum job_outcome outcome;
	uint64_t retry_ms; /* UINT64_MAX: by the task's backoff */
	const char *error;
	char *progress; /* to be told next; NULL */
	bool is_telling_progress;
	struct store_bytes result;
	struct store_effect *effects;
	size_t effect_count;
	size_t effect_room;
};

/* ---- tasks.c ---- */

struct known_task *tasks_find(const struct tasks *tasks, const char *name,
			      size_t length);
/* Starts, tells and claims before the loop blocks again. */
void tasks_turn(struct tasks *tasks);
/* Whoever waits for the end of all may look. */
void tasks_look(struct tasks *tasks);

/* ---- tasks_claim.c ---- */

void tasks_claim(struct tasks *tasks);
/* Claims and waits no more; what is claimed meanwhile is given back. */
void tasks_claim_end(struct tasks *tasks);
void tasks_claim_pause_over(void *owner);

/* ---- tasks_run.c ---- */

void tasks_run_claimed(struct tasks *tasks,
		       const struct store_claimed *claimed);
void tasks_run_ready(struct tasks *tasks);
/* What waits here for its turn goes back. */
void tasks_run_release_ready(struct tasks *tasks);
/* The keeper has news of leases. */
void tasks_run_news(void *owner);
/* The leases are somebody else's. */
void tasks_run_fence(struct tasks *tasks);
void tasks_run_end(struct muster_job *job);
void tasks_job_free(struct muster_job *job);
/* Whom the store answers about a job's progress. */
static inline void *tasks_progress_of(struct muster_job *job)
{
	return &job->progress;
}

/* ---- tasks_tell.c ---- */

void tasks_tell(struct tasks *tasks);
void tasks_tell_now(void *owner);

/* ---- tasks_adopt.c ---- */

void tasks_adopt_start(struct tasks *tasks);
void tasks_adopt_free(struct tasks *tasks);

/* ---- task_backoff.c ---- */

/* Before the attempt after the n-th: any pause up to what it has grown to. */
uint64_t task_backoff_ms(const struct muster_task *task, uint32_t attempt,
			 uint64_t random);

/* ---- task_enqueue.c ---- */

/* What is to be stored; texts are in the arena. Fails with *problem filled. */
__attribute__((warn_unused_result)) int
task_prepare(struct muster *muster, struct arena *arena, const char *name,
	     const struct muster_enqueue *enqueue, struct store_task *task,
	     struct problem *problem);
