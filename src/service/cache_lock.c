#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "service/cache.h"
#include "service/routine.h"

#define LOCK_MS 10000

static int ask_lock(struct muster *muster,
		    const struct store_cache_lock *request,
		    struct muster_lock *lock, bool *is_new)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cache_lock(muster->store, request, ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error < 0)
		return error;
	lock->token = error == 0 ? ask.answer->lock.token : 0;
	lock->left_ms = error == 0 ? request->ttl_ms : ask.answer->lock.left_ms;
	*is_new = ask.answer->lock.is_new;
	return error;
}

static int name_owner(struct muster *muster, const char *owner,
		      struct muster_lock *lock)
{
	memset(lock, 0, sizeof(*lock));
	if (owner == NULL) {
		snprintf(lock->owner, sizeof(lock->owner), "%s-%" PRIu64,
			 muster->nonce, ++muster->owners);
		return 0;
	}
	if (strlen(owner) > MUSTER_OWNER_MAX)
		return problem_set(routine_problem(muster), -EMSGSIZE,
				   "OWNER_INVALID",
				   "the name '%.40s...' of a lock's owner is "
				   "longer than %d bytes",
				   owner, MUSTER_OWNER_MAX);
	if (owner[0] == '\0')
		return problem_set(routine_problem(muster), -EINVAL,
				   "OWNER_INVALID",
				   "the name of a lock's owner is empty");
	memcpy(lock->owner, owner, strlen(owner));
	return 0;
}

int muster_cache_lock(struct muster *muster, const char *key,
		      const struct muster_lock_options *options,
		      struct muster_lock *lock)
{
	static const struct muster_lock_options none;
	bool is_new;
	int error = routine_check(muster);

	if (options == NULL)
		options = &none;
	if (error == 0)
		error = cache_check_key(muster, key);
	if (error == 0)
		error = name_owner(muster, options->owner, lock);
	if (error < 0)
		return error;
	return ask_lock(muster,
			&(struct store_cache_lock){
				.key = store_text(key),
				.owner = store_text(lock->owner),
				.ttl_ms = options->ttl_ms == 0
						  ? LOCK_MS
						  : options->ttl_ms,
				.wait_ms = options->wait_ms,
			},
			lock, &is_new);
}

/* The store locks it anew where it was free, so that it was lost before. */
int muster_cache_prolong(struct muster *muster, const char *key,
			 uint64_t ttl_ms, struct muster_lock *lock)
{
	bool is_new = false;
	int error = routine_check(muster);

	if (error == 0)
		error = cache_check_key(muster, key);
	if (error < 0)
		return error;
	error = ask_lock(muster,
			 &(struct store_cache_lock){
				 .key = store_text(key),
				 .owner = store_text(lock->owner),
				 .ttl_ms = ttl_ms == 0 ? LOCK_MS : ttl_ms,
			 },
			 lock, &is_new);
	if (error == 0 && is_new) {
		error = muster_cache_unlock(muster, key, lock);
		return error < 0 ? error : MUSTER_LOST;
	}
	return error == MUSTER_LOCKED ? MUSTER_LOST : error;
}

int muster_cache_unlock(struct muster *muster, const char *key,
			const struct muster_lock *lock)
{
	struct ask ask;
	int error = cache_begin(&ask, muster, key);

	if (error < 0)
		return error;
	store_cache_unlock(muster->store,
			   &(struct store_cache_unlock){
				   .key = store_text(key),
				   .owner = store_text(lock->owner),
				   .token = lock->token,
			   },
			   ask_on_answer, &ask);
	return cache_end(&ask);
}
