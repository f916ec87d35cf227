/*
 * muster/task.h - work that is handed to whichever server of the cluster is
 * free, now or later, and is done although servers die.
 *
 *     static int send_mail(struct muster_job *job)
 *     {
 *             if (deliver(muster_job_text(job, "to")) < 0)
 *                     return muster_job_fail(job, "the mail server refused");
 *             return 0;
 *     }
 *
 *     static const struct muster_task tasks[] = {
 *             { .name = "sendMail", .run = send_mail, .attempts = 5 },
 *             { .name = "sweep", .run = sweep, .cron = "0 4 * * *",
 *               .zone = "Europe/Vienna" },
 *             { 0 },
 *     };
 *
 *     muster_open(cluster, &(struct muster_node_options){ .tasks = tasks });
 *     ...
 *     muster_task_enqueue(muster, "sendMail", &(struct muster_enqueue){
 *             .params = muster_json(muster, "{s:s}", "to", name),
 *             .delay_ms = 60 * 1000,
 *     });
 *
 * What is promised: a task that was enqueued runs at least once, as long as the
 * store keeps what it has answered. It is handed to another server only after
 * its lease ran out, its server was found dead, it failed, or it was released.
 * A completion is recorded once, by the last holder alone; what was added to it
 * with muster_job_then_... happens exactly once. Effects elsewhere happen at
 * least once: let the receiver compare muster_job_token(), which grows, or
 * muster_job_id().
 *
 * A server prolongs the leases of what it runs from a thread of its own, so
 * code that blocks its loop loses none. What takes long looks at
 * muster_job_is_fenced() and muster_job_is_cancelled() now and then.
 *
 * The rules of muster/node.h hold: all calls but those on a job wait, and so
 * work on a fiber alone.
 */
#ifndef MUSTER_TASK_H
#define MUSTER_TASK_H

#include <muster/node.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One run of a task; good until its function returns. */
struct muster_job;
struct muster_enqueue;

/* ---- Tasks --------------------------------------------------------------- */

/* What surrounds tasks: each may be NULL. 0 goes on, MUSTER_DROPPED drops it
 * without a failure, negative fails. They run in the order of the list before,
 * and in reverse after. */
struct muster_task_middleware {
	/* May change what is enqueued: texts of this fiber. */
	int (*before_enqueue)(struct muster *muster, const char *task,
			      struct muster_enqueue *enqueue, void *arg);
	/* `answer` is what muster_task_enqueue() will give. */
	void (*after_enqueue)(struct muster *muster, const char *task,
			      const char *id, int answer, void *arg);
	/* Dropped counts as done. */
	int (*before_run)(struct muster_job *job, void *arg);
	/* `code` is what the run gave; what this gives counts instead. */
	int (*after_run)(struct muster_job *job, int code, void *arg);
	void *arg;
};

/* A recurring task whose time passed while no server was there. */
enum muster_missed {
	MUSTER_MISSED_ONCE = 0, /* runs once, at once */
	MUSTER_MISSED_SKIP,     /* waits for the next time */
	MUSTER_MISSED_ALL,      /* runs for each time that was missed */
};

/* Stays valid as long as the node. 0 is the default named beside each. */
struct muster_task {
	/* 1 to 100 bytes of ASCII without spaces, '"', '\' and '|'. */
	const char *name;
	/* On a fiber. 0: done. All else: failed, and tried again unless that
	 * was the last attempt; see muster_job_fail(). NULL: this node enqueues
	 * it, and others run it. */
	int (*run)(struct muster_job *job);
	void *arg;               /* see muster_job_arg() */
	const char *queue;       /* where it waits; "", the global one */
	uint32_t priority;       /* 0 first to 3, within the global queue */
	uint32_t attempts;       /* at most; 25 */
	uint32_t backoff_ms;     /* before the second, doubled; 1,000 */
	uint32_t backoff_max_ms; /* doubled up to; an hour. The pause is any up
				  * to that, so that those who failed together
				  * do not come again together */
	/* In place of that: the pauses themselves; ends with 0, and the last
	 * one counts for all that follow. */
	const uint32_t *backoff_list_ms;
	uint32_t timeout_ms;  /* of a run: then its wait fails with -ETIMEDOUT,
			       * and its lease is prolonged no more; no limit */
	uint32_t concurrency; /* runs of it at once in this process; those over
			       * it wait here, as some of the node's */

	/* Recurring: one of these. One run for each due time, however many
	 * servers there are. */
	uint64_t every_ms;
	/* "MINUTE HOUR DAY MONTH WEEKDAY", or six with SECOND in front: *, 5,
	 * 1-5, *\/15, 10-40/10, lists of those, names of months and weekdays, L
	 * for the last day. Or @hourly, @daily, @weekly, @monthly, @yearly. */
	const char *cron;
	const char *zone; /* "Europe/Vienna"; UTC */
	enum muster_missed missed;
	bool no_overlap;    /* not while the last run goes on */
	const char *params; /* of each run: a JSON object; {} */

	/* Ends with NULL. */
	const struct muster_task_middleware *const *middleware;
};

/* ---- To enqueue -----------------------------------------------------------
 */

enum muster_unique_scope {
	MUSTER_UNIQUE_UNTIL_DONE = 0,
	MUSTER_UNIQUE_UNTIL_START,
};

/* A zeroed one: now, to whichever server is free first. */
struct muster_enqueue {
	const char *task;     /* for muster_task_enqueue_many() alone */
	const char *params;   /* a JSON object; NULL: {} */
	uint64_t delay_ms;    /* from now, or */
	uint64_t at_ms;       /* at that time since 1970 */
	const char *queue;    /* NULL: the task's */
	const char *server;   /* for that one alone, by its muster_id() */
	bool all;             /* one for each server that there is */
	uint32_t priority;    /* 0: the task's; 1 to 3 */
	uint32_t attempts;    /* 0: the task's */
	uint64_t deadline_ms; /* not to be started later than that from now; it
			       * is among the dead then. 0: none */
	/* Enqueuing the same id again adds nothing. NULL: one is made. */
	const char *id;
	/* While a task with this key is there, no second one is added. */
	const char *unique;
	enum muster_unique_scope unique_scope;
	/* It is a task of another program's: no names are compared. */
	bool is_foreign;
	/* Where not NULL: gets the task's id, or that of the one with its key
	 * (MUSTER_DUPLICATE). With `all` the id those of the servers begin
	 * with. On the fiber. */
	const char **made_id;
};

/*
 * Enqueues a task. Once it has answered, the task outlives this process. What
 * the store did not answer is tried again under the same id, so it is added
 * once; where this fails in the end, it may have been added.
 *
 * 0; MUSTER_KNOWN: that id was enqueued before; MUSTER_DUPLICATE; MUSTER_FULL:
 * the queue's depth is reached; MUSTER_DROPPED: a middleware dropped it.
 * -ENOENT: no task of that name is registered here. -EINVAL: params that are
 * no JSON object, names that cannot be. -EMSGSIZE: over a limit.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_task_enqueue(struct muster *muster, const char *task,
		    const struct muster_enqueue *enqueue);

/* Up to 1,000 at once, in one step of the store. Each one's answer (as above,
 * failures of its own too) is in answers[i]; 0 where the store was asked,
 * whatever it answered. With NULL for answers nothing is asked where one of
 * them cannot be, and the first failure or answer that is not 0 is given. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_task_enqueue_many(struct muster *muster,
			 const struct muster_enqueue *list, size_t count,
			 int *answers);

/* ---- Within a run ---------------------------------------------------------
 */

MUSTER_PUBLIC struct muster *muster_job_node(const struct muster_job *job);
/* Of struct muster_task. */
MUSTER_PUBLIC void *muster_job_arg(const struct muster_job *job);
MUSTER_PUBLIC const char *muster_job_task(const struct muster_job *job);
MUSTER_PUBLIC const char *muster_job_id(const struct muster_job *job);
MUSTER_PUBLIC const char *muster_job_queue(const struct muster_job *job);
/* From 1; of how many at most. */
MUSTER_PUBLIC uint32_t muster_job_attempt(const struct muster_job *job);
MUSTER_PUBLIC uint32_t muster_job_attempts(const struct muster_job *job);
/* Greater than that of every run before, of any task: whoever keeps the
 * greatest that it has seen can refuse a run that was overtaken. */
MUSTER_PUBLIC uint64_t muster_job_token(const struct muster_job *job);
/* Since 1970, by the clock of whoever enqueued it. */
MUSTER_PUBLIC uint64_t muster_job_enqueued_ms(const struct muster_job *job);

/* Parameters: the JSON object, or one of its members. A text is NULL where
 * there is no such member or it is no string; json is NULL where there is none.
 */
MUSTER_PUBLIC const char *muster_job_params(struct muster_job *job);
MUSTER_PUBLIC const char *muster_job_text(struct muster_job *job,
					  const char *name);
MUSTER_PUBLIC const char *muster_job_json(struct muster_job *job,
					  const char *name);
MUSTER_PUBLIC int64_t muster_job_int(const struct muster_job *job,
				     const char *name, int64_t otherwise);
MUSTER_PUBLIC double muster_job_number(const struct muster_job *job,
				       const char *name, double otherwise);
MUSTER_PUBLIC bool muster_job_bool(const struct muster_job *job,
				   const char *name, bool otherwise);

/* Has it lost its lease? It may run elsewhere, and its completion will be
 * refused: stop touching the world. From any thread, as the next two. */
MUSTER_PUBLIC bool muster_job_is_fenced(const struct muster_job *job);
/* Has it been told to stop? Its wait was ended with -ECANCELED as well. */
MUSTER_PUBLIC bool muster_job_is_cancelled(const struct muster_job *job);
/* How long the lease is sure to last, as far as this server knows; 0 while the
 * store is away for longer than that, though it may last. */
MUSTER_PUBLIC uint64_t muster_job_lease_ms(const struct muster_job *job);

/* What the run has come to, for muster_task_show(): any JSON value up to 4 KiB.
 * -EINVAL, -EMSGSIZE. Does not wait; of several at once the last one counts. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_job_set_progress(struct muster_job *job, const char *json);
/* What it has come out with: any JSON value up to 64 KiB, kept with the
 * completion. -EINVAL, -EMSGSIZE. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_job_set_result(struct muster_job *job,
							 const char *json);

/*
 * How a run ends without being done: return what these return, or any other
 * negative value, where the fiber's last problem says why. The text is kept
 * with the task.
 */
MUSTER_PUBLIC MUSTER_FORMAT(2, 3) int muster_job_fail(struct muster_job *job,
						      const char *format, ...);
/* Tried again in delay_ms, if there is an attempt left. */
MUSTER_PUBLIC MUSTER_FORMAT(3,
			    4) int muster_job_retry_in(struct muster_job *job,
						       uint64_t delay_ms,
						       const char *format, ...);
/* To the dead at once: no attempt can help. */
MUSTER_PUBLIC MUSTER_FORMAT(2, 3) int muster_job_give_up(struct muster_job *job,
							 const char *format,
							 ...);
/* To the front of its queue, for any server; the attempt does not count. */
MUSTER_PUBLIC int muster_job_release(struct muster_job *job);

/*
 * Made in the same step as the completion: when that is recorded, and never
 * else. Nothing happens now; they are dropped where the run is not done. 0 or
 * -EINVAL, -ENOENT, as in muster_task_enqueue() and muster/cache.h. On a Redis
 * Cluster what it does to the cache follows at once, or, where this server dies
 * over it, when another one looks for tasks: once all the same.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_job_then_enqueue(struct muster_job *job, const char *task,
			const struct muster_enqueue *enqueue);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_job_then_save(struct muster_job *job, const char *key, const void *value,
		     size_t length, uint64_t ttl_ms);
MUSTER_PUBLIC MUSTER_MUST_READ int muster_job_then_add(struct muster_job *job,
						       const char *key,
						       int64_t delta,
						       uint64_t ttl_ms);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_job_then_destroy(struct muster_job *job, const char *key);

/* ---- To look after them ---------------------------------------------------
 */

enum muster_task_state {
	MUSTER_TASK_QUEUED,
	MUSTER_TASK_DELAYED,
	MUSTER_TASK_ACTIVE,
	MUSTER_TASK_CANCELLED, /* runs, and is told to stop */
	MUSTER_TASK_DEAD,
	MUSTER_TASK_DONE,
};

/* "queued", "delayed", "active", "cancelled", "dead", "done" */
MUSTER_PUBLIC const char *muster_task_state_text(enum muster_task_state state);

/* Texts are "" where there is none. */
struct muster_task_info {
	const char *id;
	const char *task;
	const char *params; /* JSON */
	const char *queue;  /* "": the global one */
	const char *server; /* ACTIVE: who runs it */
	const char *unique;
	const char *error;    /* of the last attempt that failed */
	const char *result;   /* DONE: JSON */
	const char *progress; /* JSON */
	enum muster_task_state state;
	uint32_t priority;
	uint32_t attempt;
	uint32_t attempts;
	uint64_t token;
	uint64_t enqueued_ms; /* since 1970; 0: not known */
	/* DELAYED: in how long it is due; ACTIVE: how long its lease lasts;
	 * DEAD, DONE: since when, negative. */
	int64_t in_ms;
};

/* 0 or MUSTER_NOT_FOUND. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_task_show(struct muster *muster, const char *id,
		 struct muster_task_info *info);

struct muster_task_filter {
	enum muster_task_state state; /* CANCELLED are among the ACTIVE */
	const char *queue;            /* QUEUED: of this one; "" */
	uint64_t offset;
	uint32_t limit; /* 0: 100; at most 1,000 */
};

/* In the order in which they would run, or by time. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_task_list(struct muster *muster, const struct muster_task_filter *filter,
		 const struct muster_task_info **list, size_t *count);

struct muster_queue_info {
	const char *name; /* "": the global one */
	uint64_t queued;
	uint64_t running;
	uint64_t depth; /* the limits; 0: none */
	uint32_t running_max;
	uint32_t per_second;
	bool is_paused;
};

struct muster_task_counts {
	uint64_t queued;
	uint64_t delayed;
	uint64_t active;
	uint64_t dead;
	uint64_t done; /* that are remembered */
	const struct muster_queue_info *queues;
	size_t queue_count;
};

MUSTER_PUBLIC MUSTER_MUST_READ int
muster_task_count(struct muster *muster, struct muster_task_counts *counts);

/* 0: it waited, and is gone. MUSTER_RUNNING: its run is told to stop, within
 * seconds. MUSTER_NOT_FOUND. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_task_cancel(struct muster *muster,
						      const char *id);
/* One of the dead runs again, its attempts counted anew. 0, MUSTER_NOT_FOUND.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_task_retry(struct muster *muster,
						     const char *id);
/* Whatever does not run, the dead and what is done too. 0, MUSTER_RUNNING,
 * MUSTER_NOT_FOUND. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_task_remove(struct muster *muster,
						      const char *id);

/* Of a queue; NULL or "": the global one. What runs goes on. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_task_pause(struct muster *muster,
						     const char *queue);
MUSTER_PUBLIC MUSTER_MUST_READ int muster_task_resume(struct muster *muster,
						      const char *queue);

/* All of them are set; 0: no limit. */
struct muster_queue_limits {
	uint64_t depth;      /* that wait in it: MUSTER_FULL beyond */
	uint32_t running;    /* that run at once, in all servers */
	uint32_t per_second; /* that start in a second, in all servers */
};

MUSTER_PUBLIC MUSTER_MUST_READ int
muster_task_limit(struct muster *muster, const char *queue,
		  const struct muster_queue_limits *limits);

#ifdef __cplusplus
}
#endif

#endif
