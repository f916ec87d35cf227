/*
 * Load or compute. A fiber that finds nothing, or what is past its time, leads
 * a flight, unless its process has one for the key; others follow it. The
 * leader computes under a lock of the store on "compute:KEY", so that the key
 * itself may be saved and destroyed meanwhile.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/list.h"
#include "base/must.h"
#include "service/cache.h"
#include "service/routine.h"

#define LOCK_PREFIX "compute:"
#define NEGATIVE_MS 1000
#define LOCK_MS     10000
#define WAIT_MS     30000

struct question {
	struct muster *muster;
	const char *key;
	const struct muster_cache_compute_options *options;
};

/* What the cache has. */
struct finding {
	bool is_there;
	struct muster_cached cached;
	struct cache_note note;
};

/* On the leader's stack. */
struct flight {
	struct list link; /* of the node's */
	const char *key;
	struct list followers;
	bool is_void; /* its leader was told to end: no answer to anybody */
	int answer;
	const struct muster_cached *cached;
	const struct problem *problem;
};

/* On its own stack. */
struct follower {
	struct list link;
	struct fiber_wait wait;
	const struct flight *flight; /* NULL until that has landed */
};

/* ---- what there is ---- */

static int look(const struct question *question, struct finding *found)
{
	int error = cache_load(question->muster, question->key, 0,
			       &found->cached, &found->note);

	found->is_there = error == 0;
	return error < 0 ? error : 0;
}

/*
 * Is it to be computed? Before its time is over with a probability that grows
 * so that, of all who ask, about one does it, as early as it takes long
 * (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede
 * Prevention).
 */
static bool is_due(struct muster *muster, const struct finding *found)
{
	const struct muster_cached *cached = &found->cached;

	if (!found->is_there)
		return true;
	if (cached->expires_ms == 0 || found->note.is_none)
		return false;
	double early_ms =
		-log(cache_chance(muster)) * (double)found->note.cost_ms;

	return (double)cache_now_ms() + early_ms >= (double)cached->expires_ms;
}

static int serve(const struct finding *found, struct muster_cached *cached)
{
	*cached = found->cached;
	return found->note.is_none ? MUSTER_NOT_FOUND : 0;
}

/* ---- computing ---- */

static void warn_unsaved(const struct question *question, int answer)
{
	struct muster *muster = question->muster;

	log_warn(&muster->log,
		 "what was computed was not saved key=\"%.80s\" text=\"%s\"",
		 question->key,
		 answer == MUSTER_LOCKED ? "the key is locked"
					 : muster_problem(muster));
}

/* Whether or not it can be saved, there is a value. */
static void save(const struct question *question,
		 const struct muster_computed *computed, uint64_t ttl_ms,
		 const char *note)
{
	const char *type = computed->type == NULL ? "" : computed->type;
	struct muster *muster = question->muster;
	char noted[MUSTER_CACHE_TYPE_MAX + 48];
	int answer = cache_check_value(muster, computed->length, type);
	int used = snprintf(noted, sizeof(noted), "%.80s%s%s", type, CACHE_NOTE,
			    note);

	if (answer == 0)
		answer = cache_save(
			muster,
			&(struct store_cache_save){
				.key = store_text(question->key),
				.value = store_bytes(computed->data,
						     computed->length),
				.type = store_bytes(noted, (size_t)used),
				.ttl_ms = ttl_ms,
			});
	if (answer != 0)
		warn_unsaved(question, answer);
}

static void save_value(const struct question *question,
		       const struct muster_computed *computed, uint64_t cost_ms,
		       struct muster_cached *cached)
{
	const struct muster_cache_compute_options *options = question->options;
	uint64_t ttl_ms = options->ttl_ms;
	uint64_t stale_ms = ttl_ms == 0 ? 0 : options->stale_ms;
	uint64_t now_ms = cache_now_ms();
	char note[48];

	if (options->has_jitter)
		ttl_ms = cache_jitter(question->muster, ttl_ms);
	snprintf(note, sizeof(note), "%" PRIu64 ",%" PRIu64, cost_ms, stale_ms);
	*cached = (struct muster_cached){
		.data = routine_keep(
				question->muster,
				store_bytes(computed->data, computed->length))
				.data,
		.length = computed->length,
		.type = routine_keep(question->muster,
				     store_text(computed->type))
				.data,
		.created_ms = now_ms,
		.expires_ms = ttl_ms == 0 ? 0 : now_ms + ttl_ms,
	};
	save(question, computed, ttl_ms + stale_ms, note);
}

static uint64_t steady_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int compute(const struct question *question,
		   struct muster_cached *cached)
{
	const struct muster_cache_compute_options *options = question->options;
	struct muster_computed computed = { 0 };
	uint64_t began_ms = steady_ms();
	int answer = options->fn(question->muster, question->key, &computed,
				 options->arg);

	if (answer == 0)
		save_value(question, &computed, steady_ms() - began_ms, cached);
	if (answer == MUSTER_NOT_FOUND)
		save(question, &(struct muster_computed){ .data = "" },
		     options->negative_ms == 0 ? NEGATIVE_MS
					       : options->negative_ms,
		     "none");
	return answer;
}

static bool was_told_to_end(struct muster *muster, int answer)
{
	const char *word = muster_problem_word(muster);

	return (answer == -ECANCELED && strcmp(word, "CANCELLED") == 0) ||
	       (answer == -ETIMEDOUT && strcmp(word, "DEADLINE") == 0);
}

/* Under the lock. Who had it before may have done it. */
static int compute_or_take(const struct question *question,
			   const struct finding *before,
			   struct muster_cached *cached)
{
	struct finding found;
	int answer = look(question, &found);

	if (answer < 0)
		return answer;
	if (found.is_there && !found.cached.is_stale &&
	    (!before->is_there ||
	     found.cached.created_ms != before->cached.created_ms))
		return serve(&found, cached);
	answer = compute(question, cached);
	if (answer < 0 && found.is_there &&
	    !was_told_to_end(question->muster, answer))
		return serve(&found, cached);
	return answer;
}

static int lead(const struct question *question, const struct finding *found,
		struct muster_cached *cached)
{
	const struct muster_cache_compute_options *options = question->options;
	struct muster *muster = question->muster;
	char name[MUSTER_CACHE_KEY_MAX + 1];
	uint32_t wait_ms = options->wait_ms == 0 ? WAIT_MS : options->wait_ms;
	struct muster_lock lock;

	snprintf(name, sizeof(name), "%s%s", LOCK_PREFIX, question->key);
	int answer = muster_cache_lock(
		muster, name,
		&(struct muster_lock_options){
			.ttl_ms = options->lock_ms == 0 ? LOCK_MS
							: options->lock_ms,
			.wait_ms = found->is_there ? 0 : wait_ms,
		},
		&lock);
	if (answer == MUSTER_LOCKED && found->is_there)
		return serve(found, cached);
	if (answer != 0)
		return answer;
	answer = compute_or_take(question, found, cached);
	struct problem problem = *routine_problem(muster);

	/* If it fails, the lock ends by itself. */
	muster_cache_unlock(muster, name, &lock);
	*routine_problem(muster) = problem;
	return answer;
}

/* ---- flights ---- */

static struct flight *find(struct muster *muster, const char *key)
{
	LIST_EACH (&muster->flights, link) {
		struct flight *flight = LIST_ENTRY(link, struct flight, link);

		if (strcmp(flight->key, key) == 0)
			return flight;
	}
	return NULL;
}

/* Each of them runs within, so the answer is still there for it. */
static void land(struct flight *flight)
{
	list_remove(&flight->link);
	while (!list_is_empty(&flight->followers)) {
		struct follower *follower = LIST_ENTRY(
			list_first(&flight->followers), struct follower, link);

		list_remove(&follower->link);
		follower->flight = flight;
		fiber_wake(follower->wait, 0);
	}
}

static int fly(const struct question *question, const struct finding *found,
	       struct muster_cached *cached)
{
	struct muster *muster = question->muster;
	struct flight flight = { .key = question->key, .cached = cached };

	list_init(&flight.followers);
	list_add_last(&muster->flights, &flight.link);
	flight.answer = lead(question, found, cached);
	flight.is_void = was_told_to_end(muster, flight.answer);
	struct problem problem = *routine_problem(muster);

	flight.problem = &problem;
	land(&flight);
	return flight.answer;
}

/* Begin anew where *is_void. */
static int follow(struct muster *muster, struct flight *flight,
		  struct muster_cached *cached, bool *is_void)
{
	struct follower follower = { .wait = fiber_wait_begin() };

	list_add_last(&flight->followers, &follower.link);
	int error = routine_park(muster, follower.wait, 0);

	*is_void = false;
	if (error < 0) {
		if (follower.flight == NULL)
			list_remove(&follower.link);
		return error;
	}
	MUST(follower.flight != NULL);
	const struct muster_cached *from = follower.flight->cached;

	*is_void = follower.flight->is_void;
	if (*is_void)
		return 0;
	if (follower.flight->answer < 0)
		*routine_problem(muster) = *follower.flight->problem;
	if (follower.flight->answer != 0)
		return follower.flight->answer;
	*cached = *from;
	cached->data =
		routine_keep(muster, store_bytes(from->data, from->length))
			.data;
	cached->type = routine_keep(muster, store_text(from->type)).data;
	return 0;
}

/* ---- what applications see ---- */

static int check(const struct question *question)
{
	size_t most = MUSTER_CACHE_KEY_MAX - strlen(LOCK_PREFIX);
	int error = routine_check(question->muster);

	if (error == 0)
		error = cache_check_key(question->muster, question->key);
	if (error == 0 && strlen(question->key) > most)
		error = problem_set(routine_problem(question->muster),
				    -EMSGSIZE, "KEY_TOO_LONG",
				    "the key '%.40s...' of what is computed is "
				    "longer than %zu bytes (take a hash of it)",
				    question->key, most);
	if (error == 0 && question->options->fn == NULL)
		error = problem_set(routine_problem(question->muster), -EINVAL,
				    "OPTION_INVALID",
				    "there is no function to compute '%.80s'",
				    question->key);
	return error;
}

int muster_cache_compute(struct muster *muster, const char *key,
			 const struct muster_cache_compute_options *options,
			 struct muster_cached *cached)
{
	struct question question = { muster, key, options };
	int answer = check(&question);

	if (answer < 0)
		return answer;
	bool is_void = false;

	do {
		struct finding found;

		answer = look(&question, &found);
		if (answer < 0)
			return answer;
		if (!is_due(muster, &found))
			return serve(&found, cached);
		struct flight *flight = find(muster, key);

		if (flight == NULL)
			return fly(&question, &found, cached);
		if (found.is_there)
			return serve(&found, cached);
		answer = follow(muster, flight, cached, &is_void);
	} while (is_void);
	return answer;
}
