#include "service/node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/ask.h"
#include "service/node_bus.h"
#include "service/peers.h"
#include "service/pubsub.h"
#include "service/rooms.h"
#include "service/routine.h"
#include "service/rpc.h"
#include "service/stats.h"
#include "service/tasks.h"
#include "store/store_url.h"

/* How long fibers that were cancelled have to end, and how often they are told
 * meanwhile. */
#define CANCEL_MS       5000
#define CANCEL_EVERY_MS 500
#define RETRY_MS        1000

/* In the order they start; they drain and stop in reverse. */
static const struct node_part *const parts[] = {
	/* clang-format off */
	&peers_part, /* gives the node its name */
	&stats_part,
	&bus_part,
	&pubsub_part,
	&rpc_part,
	&rooms_part,
	&tasks_part,
	NULL, /* the end */
	/* clang-format on */
};

/* ---- states ---- */

static const struct {
	const char *name;
	unsigned next; /* a bit each */
} states[] = {
	[NODE_OPENING] = { "opening",
			   1U << NODE_STARTING | 1U << NODE_STOPPING },
	[NODE_STARTING] = { "starting", 1U << NODE_UP | 1U << NODE_STOPPING },
	[NODE_UP] = { "up", 1U << NODE_DRAINING },
	[NODE_DRAINING] = { "draining", 1U << NODE_STOPPING },
	[NODE_STOPPING] = { "stopping", 1U << NODE_CLOSING },
	[NODE_CLOSING] = { "closing", 1U << NODE_CLOSED },
	[NODE_CLOSED] = { "closed", 0 },
};

const char *node_state_name(enum node_state state)
{
	return states[state].name;
}

static void move(struct muster *muster, enum node_state state)
{
	MUST((states[muster->state].next & 1U << state) != 0);
	log_debug(&muster->log, "node state=%s was=%s", states[state].name,
		  states[muster->state].name);
	muster->state = state;
	for (size_t i = 0; i < muster->parts_started; i++)
		if (parts[i]->on_state != NULL)
			parts[i]->on_state(muster);
}

bool node_is_up(const struct muster *muster)
{
	return muster->state == NODE_UP;
}

/* ---- taken for dead ---- */

int node_reap(struct muster *muster, const char *id, const char *nonce)
{
	for (size_t i = 0; parts[i] != NULL; i++) {
		int error = parts[i]->reap == NULL
				    ? 0
				    : parts[i]->reap(muster, id, nonce);

		if (error < 0)
			return error;
	}
	return 0;
}

void node_tell_peer(struct muster *muster, enum muster_peer_event event,
		    const char *id)
{
	for (size_t i = 0; i < muster->parts_started; i++)
		if (parts[i]->on_peer != NULL)
			parts[i]->on_peer(muster, event, id);
}

void node_tell_lost(struct muster *muster)
{
	for (size_t i = 0; i < muster->parts_started; i++)
		if (parts[i]->on_lost != NULL)
			parts[i]->on_lost(muster);
}

void node_tell_rejoined(struct muster *muster)
{
	for (size_t i = 0; i < muster->parts_started; i++)
		if (parts[i]->on_rejoin != NULL)
			parts[i]->on_rejoin(muster);
}

/* ---- start ---- */

/* A server that is away may come back; one that refuses us will not. */
bool node_is_passing(int error)
{
	return error == -ETIMEDOUT || error == -ECONNREFUSED ||
	       error == -ENOTCONN || error == -ECONNRESET || error == -EPIPE ||
	       error == -EAGAIN || error == -EHOSTUNREACH ||
	       error == -ENETUNREACH;
}

static int wait_for_store(struct muster *muster)
{
	for (;;) {
		struct ask ask;
		int error = ask_begin(&ask, muster);

		if (error < 0)
			return error;
		store_ready(muster->store, ask_on_answer, &ask);
		error = ask_end(&ask);
		if (error == 0 || !node_is_passing(error) ||
		    muster->settings.options.is_guest ||
		    muster->is_told_to_stop)
			return error;
		log_warn(&muster->log,
			 "the store is away, trying on text=\"%s\"",
			 muster_problem(muster));
		error = muster_sleep(muster, RETRY_MS);
		if (error < 0)
			return error;
	}
}

static int start_parts(struct muster *muster)
{
	for (size_t i = 0; parts[i] != NULL; i++) {
		muster->parts_started++;
		int error =
			parts[i]->start == NULL ? 0 : parts[i]->start(muster);

		if (error < 0)
			return error;
	}
	return 0;
}

static void fail(struct muster *muster, int exit_code)
{
	if (muster->exit_code == 0)
		muster->exit_code = exit_code;
}

/* A guest is a person's tool: to them it is one sentence, as when the options
 * are refused. */
static void tell_failed(const struct muster *muster)
{
	if (muster->settings.options.is_guest)
		fprintf(stderr, "%s: %s\n", muster->name,
			muster_problem(muster));
	else
		log_error(&muster->log, "%s", muster_problem(muster));
}

static bool start(struct muster *muster)
{
	const struct muster_node_options *options = &muster->settings.options;
	int error = wait_for_store(muster);

	if (error < 0 && !muster->is_told_to_stop) {
		tell_failed(muster);
		fail(muster, node_is_passing(error) ? 1 : NODE_EXIT_CONFIG);
	}
	if (error < 0)
		return false;
	move(muster, NODE_STARTING);
	error = start_parts(muster);
	if (error < 0 && !muster->is_told_to_stop)
		tell_failed(muster);
	if (error == 0 && options->on_start != NULL) {
		error = options->on_start(muster, options->arg);
		if (error < 0 && !muster->is_told_to_stop)
			log_error(&muster->log,
				  "the application did not start code=%d "
				  "text=\"%s\"",
				  error, muster_problem(muster));
	}
	if (error < 0 && !muster->is_told_to_stop)
		fail(muster, 1);
	return error >= 0;
}

/* ---- stop ---- */

/* What is cancelled may end, and end or start others meanwhile: each that is
 * looked at goes to the end of the list, and as many are looked at as there
 * were. */
static void cancel_others(struct muster *muster)
{
	size_t left = 0;

	LIST_EACH (&muster->routines, link)
		left++;
	while (left-- > 0 && !list_is_empty(&muster->routines)) {
		struct routine *routine = LIST_ENTRY(
			list_first(&muster->routines), struct routine, link);

		list_remove(&routine->link);
		list_add_last(&muster->routines, &routine->link);
		if (routine != muster->own)
			routine_cancel(routine, -ECANCELED);
	}
}

static bool has_others(const struct muster *muster)
{
	return !list_has_one(&muster->routines);
}

static void end_others(struct muster *muster)
{
	for (uint32_t waited_ms = 0;
	     has_others(muster) && waited_ms < CANCEL_MS;
	     waited_ms += CANCEL_EVERY_MS) {
		cancel_others(muster);
		if (!has_others(muster))
			break;
		muster->idle_wait = fiber_wait_begin();
		DISCARD(routine_park(muster, muster->idle_wait,
				     CANCEL_EVERY_MS));
	}
	LIST_EACH (&muster->routines, link) {
		struct routine *left = LIST_ENTRY(link, struct routine, link);

		if (left != routine_current(muster))
			log_warn(&muster->log,
				 "a fiber did not end when told to name=%s",
				 left->name);
	}
}

/* What drains is cut short, and so is all that it waits for. */
static void on_drain_deadline(void *owner)
{
	struct muster *muster = owner;

	log_warn(&muster->log, "not finished in time, ending drain_ms=%u",
		 muster->settings.options.drain_ms);
	muster->is_late = true;
	cancel_others(muster);
	routine_cancel(muster->own, -ECANCELED);
}

void node_hold(struct muster *muster)
{
	muster->holds++;
}

void node_release(struct muster *muster)
{
	MUST(muster->holds > 0);
	if (--muster->holds == 0 && muster->state == NODE_DRAINING)
		fiber_wake(muster->idle_wait, 0);
}

static void await_release(struct muster *muster)
{
	if (muster->holds > 0 && muster->settings.on_held != NULL)
		muster->settings.on_held(muster->settings.owner);
	while (muster->holds > 0 && !muster->is_late) {
		muster->idle_wait = fiber_wait_begin();
		DISCARD(routine_park(muster, muster->idle_wait, 0));
	}
}

static void drain(struct muster *muster)
{
	const struct muster_node_options *options = &muster->settings.options;

	move(muster, NODE_DRAINING);
	timer_start(muster->drain_deadline, options->drain_ms, 0);
	await_release(muster);
	for (size_t i = muster->parts_started; i-- > 0;)
		if (parts[i]->drain != NULL && !muster->is_late)
			parts[i]->drain(muster);
	if (options->on_stop != NULL)
		options->on_stop(muster, options->arg);
	timer_stop(muster->drain_deadline);
}

static void stop_parts(struct muster *muster)
{
	for (size_t i = muster->parts_started; i-- > 0;)
		if (parts[i]->stop != NULL)
			parts[i]->stop(muster);
}

/* ---- life ---- */

/* A guest that has nothing left to do goes. */
static void await_stop(struct muster *muster)
{
	while (!muster->is_told_to_stop &&
	       (!muster->settings.options.is_guest || has_others(muster))) {
		muster->idle_wait = fiber_wait_begin();
		DISCARD(routine_park(muster, muster->idle_wait, 0));
	}
}

static void on_store_closed(void *owner)
{
	struct muster *muster = owner;

	muster->store = NULL;
	move(muster, NODE_CLOSED);
	loop_release(muster->loop);
	muster->settings.on_closed(muster->settings.owner, muster->exit_code);
}

static void close_node(struct muster *muster)
{
	move(muster, NODE_CLOSING);
	timer_close(muster->drain_deadline);
	muster->drain_deadline = NULL;
	for (size_t i = sizeof(parts) / sizeof(parts[0]) - 1; i-- > 0;)
		if (parts[i]->close != NULL)
			parts[i]->close(muster);
	store_close(muster->store, on_store_closed, muster);
	for (size_t i = 0; parts[i] != NULL; i++)
		if (parts[i]->free != NULL)
			parts[i]->free(muster);
}

/* Not from a fiber: the store's last answers come within, to other fibers. */
static void run_close(struct loop_task *task)
{
	close_node(LIST_ENTRY(task, struct muster, close));
}

static void live(struct muster *muster, void *arg)
{
	(void)arg;
	muster->own = routine_current(muster);
	if (start(muster)) {
		move(muster, NODE_UP);
		await_stop(muster);
		muster->is_told_to_stop = true;
		drain(muster);
	}
	muster->is_told_to_stop = true;
	muster->own->owed = 0;
	move(muster, NODE_STOPPING);
	end_others(muster);
	stop_parts(muster);
	loop_defer(muster->loop, &muster->close);
}

void node_stop(struct muster *muster, int exit_code)
{
	fail(muster, exit_code);
	if (muster->is_told_to_stop)
		return;
	muster->is_told_to_stop = true;
	if (muster->state == NODE_UP)
		fiber_wake(muster->idle_wait, 0);
	else
		routine_cancel(muster->own, -ECANCELED);
}

void node_abandon(struct muster *muster)
{
	if (muster->state >= NODE_CLOSING)
		return;
	loop_undefer(&muster->close);
	LIST_EACH (&muster->routines, link)
		routine_abandon(LIST_ENTRY(link, struct routine, link));
	muster->state = NODE_STOPPING; /* from wherever it was */
	close_node(muster);
}

/* ---- birth and death ---- */

void node_make_nonce(char nonce[NODE_NONCE_BYTES])
{
	uint64_t number = 0;

	MUST(getrandom(&number, sizeof(number), 0) == sizeof(number));
	snprintf(nonce, NODE_NONCE_BYTES, "%016" PRIx64, number);
}

/* Seen in documents and examples, so known to everyone. */
static bool is_known_to_all(const char *token)
{
	static const char *const known[] = { "", "change-me", "changeme",
					     "secret", "token" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(known[i], token) == 0)
			return true;
	return false;
}

static int check_token(const struct muster_node_options *options,
		       struct problem *problem)
{
	if (strncmp(options->store, "lmdb:", 5) == 0 || options->is_guest)
		return 0;
	if (options->token == NULL || is_known_to_all(options->token))
		return problem_set(
			problem, -EINVAL, "TOKEN_DEFAULT",
			"%s token with a store that others can reach (set "
			"MUSTER_TOKEN to a secret of the cluster's own)",
			options->token == NULL || options->token[0] == '\0'
				? "there is no"
				: "everyone knows this");
	return 0;
}

static enum store_durability durability_of(enum muster_durability durability)
{
	static const enum store_durability map[] = {
		[MUSTER_NORMAL] = STORE_NORMAL,
		[MUSTER_DURABLE] = STORE_DURABLE,
		[MUSTER_FAST] = STORE_FAST,
	};

	return map[durability];
}

static int open_store(struct muster *muster, struct problem *problem)
{
	const struct muster_node_options *options = &muster->settings.options;

	muster->store = store_open(
		muster->loop, options->store,
		&(struct store_options){
			.prefix = options->prefix,
			.durability = durability_of(options->durability),
			.timeout_ms = options->store_ms,
			.cache_bytes = options->cache_bytes,
			.cache_entries = options->cache_entries,
			.value_bytes_max = (uint32_t)options->cache_value_bytes,
		},
		problem);
	return muster->store == NULL ? problem->code : 0;
}

static void copy_texts(struct muster *muster)
{
	struct muster_node_options *options = &muster->settings.options;

	muster->name = mem_text(options->name);
	muster->store_url = mem_text(options->store);
	muster->prefix = mem_text(options->prefix);
	muster->token =
		options->token == NULL ? NULL : mem_text(options->token);
	muster->id = mem_text("");
	options->name = muster->name;
	options->store = muster->store_url;
	options->prefix = muster->prefix;
	options->token = muster->token;
}

int node_check(const struct muster_node_options *options,
	       struct problem *problem)
{
	struct store_url url = { 0 };
	int error = 0;

	if (options->store != NULL) {
		error = check_token(options, problem);
		if (error == 0)
			error = store_url_read(options->store, &url, problem);
		store_url_fini(&url);
	}
	return error < 0 ? error : tasks_check(options->tasks, problem);
}

struct muster *node_new(struct loop *loop, const struct log *log,
			const struct node_settings *settings,
			struct problem *problem)
{
	if (check_token(&settings->options, problem) < 0)
		return NULL;
	struct muster *muster = mem_zalloc(sizeof(*muster));

	muster->loop = loop;
	muster->log = *log;
	muster->settings = *settings;
	muster->meters = settings->meters != NULL ? settings->meters
						  : muster->own_meters;
	muster->close.run = run_close;
	list_init(&muster->routines);
	list_init(&muster->flights);
	copy_texts(muster);
	node_make_nonce(muster->nonce);
	muster->fibers = fiber_pool_new(NULL);
	if (open_store(muster, problem) < 0) {
		node_free(muster);
		return NULL;
	}
	muster->drain_deadline =
		timer_open(loop, on_drain_deadline, muster, false);
	loop_hold(loop);
	MUST(routine_start(muster, "node", live, NULL, NULL) == 0);
	return muster;
}

void node_free(struct muster *muster)
{
	MUST(muster->store == NULL);
	/* Abandoned fibers hold their stacks: those go with the process. */
	if (list_is_empty(&muster->routines))
		fiber_pool_free(muster->fibers);
	routine_free_spares(muster);
	free(muster->name);
	free(muster->store_url);
	free(muster->prefix);
	free(muster->token);
	free(muster->id);
	free(muster);
}

/* ---- what applications see ---- */

const char *muster_id(const struct muster *muster)
{
	return muster->id;
}

bool muster_is_stopping(const struct muster *muster)
{
	return muster->is_told_to_stop;
}
