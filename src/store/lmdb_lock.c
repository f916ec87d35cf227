#include "base/must.h"
#include "loop/timer.h"
#include "store/lmdb_cache_internal.h"

/* How long a lock is kept for who is next: he may be dead. */
#define KEPT_MS 500

/*
 * Who waits stands in AWAIT in his place; whoever unlocks makes the first one
 * the owner, for a moment, and wakes him. Until he has it for good his place is
 * 0. A lock that runs out goes to whoever comes first.
 *
 * A waiting call goes to the lane again and again: when its lock was handed on,
 * when that would run out, and a last time, wanting no more, when its own time
 * is over or nobody waits for it: then it leaves its place.
 */
struct lock_wait {
	struct list link;
	struct store_call *call;
	uint64_t bit;
	uint64_t until_ms;
	uint64_t look_ms; /* asleep: when it tries again */
	bool is_asleep;   /* the loop's, else the lane's */
	bool is_woken;    /* while it was with the lane */
	/* The lane's, while it has the call. */
	bool wants; /* to wait if it is not free */
	uint64_t wait_ms;
	uint64_t place; /* 0: none yet */
};

static const struct store_bytes nothing = { "", 0 };

/* ---- with the lane ---- */

bool lmdb_lock_find(struct lmdb_batch *batch, const struct cache_key *key,
		    struct lock *lock)
{
	struct store_bytes bytes;

	if (!lmdb_get(batch, TABLE_LOCK, cache_key_bytes(key), &bytes) ||
	    bytes.length < 16)
		return false;
	memcpy(&lock->token, bytes.data, 8);
	memcpy(&lock->until_ms, bytes.data + 8, 8);
	lock->owner = store_bytes(bytes.data + 16, bytes.length - 16);
	return lock->until_ms > batch->boot_ms;
}

static void put_lock(struct lmdb_batch *batch, const struct cache_key *key,
		     const struct lock *lock)
{
	char *room = lmdb_reserve(batch, TABLE_LOCK, cache_key_bytes(key),
				  16 + lock->owner.length);
	struct lmdb_key expiry = lmdb_expiry_key(
		batch->real_ms + lock->until_ms - batch->boot_ms, 'l', key);

	if (room == NULL)
		return;
	memcpy(room, &lock->token, 8);
	memcpy(room + 8, &lock->until_ms, 8);
	memcpy(room + 16, lock->owner.data, lock->owner.length);
	lmdb_put(batch, TABLE_EXPIRY, lmdb_key_all(&expiry), nothing);
}

static uint64_t next_token(struct lmdb_batch *batch)
{
	uint64_t token = batch->shared.token + 1;

	if (token < batch->real_us)
		token = batch->real_us;
	batch->shared.token = token;
	return token;
}

static struct lmdb_key place_key(const struct cache_key *key, uint64_t place)
{
	struct lmdb_key name;

	lmdb_key_start(&name);
	lmdb_key_bytes(&name, key->bytes, HASH_BYTES);
	lmdb_key_number(&name, place, 8);
	return name;
}

/* The first place of the key from `place` on; what was found is copied. */
static bool find_place(struct lmdb_batch *batch, const struct cache_key *key,
		       uint64_t *place, uint64_t *until_ms,
		       struct store_bytes *owner)
{
	struct lmdb_key from = place_key(key, *place);
	struct store_bytes name;
	struct store_bytes value;

	if (!lmdb_seek(batch, TABLE_AWAIT, lmdb_key_all(&from), &name,
		       &value) ||
	    name.length != from.length || value.length < 8 ||
	    memcmp(name.data, key->bytes, HASH_BYTES) != 0)
		return false;
	*place = lmdb_number(name, HASH_BYTES, 8);
	memcpy(until_ms, value.data, 8);
	*owner = arena_copy(&batch->arena, value.data + 8, value.length - 8);
	return true;
}

static void leave_place(struct lmdb_batch *batch, const struct cache_key *key,
			uint64_t place)
{
	struct lmdb_key name = place_key(key, place);

	lmdb_delete(batch, TABLE_AWAIT, lmdb_key_all(&name));
}

static void take_place(struct lmdb_batch *batch, const struct cache_key *key,
		       uint64_t place, uint64_t for_ms,
		       struct store_bytes owner)
{
	uint64_t until_ms = batch->boot_ms + for_ms;
	struct lmdb_key name = place_key(key, place);
	struct lmdb_key expiry =
		lmdb_expiry_key(batch->real_ms + for_ms, 'w', key);
	char *room = lmdb_reserve(batch, TABLE_AWAIT, lmdb_key_all(&name),
				  8 + owner.length);

	if (room == NULL)
		return;
	memcpy(room, &until_ms, 8);
	memcpy(room + 8, owner.data, owner.length);
	lmdb_put(batch, TABLE_EXPIRY, lmdb_key_all(&expiry), nothing);
}

void lmdb_lock_sweep(struct lmdb_batch *batch, const struct cache_key *key)
{
	uint64_t place = 0;
	uint64_t until_ms;
	struct store_bytes owner;

	for (; find_place(batch, key, &place, &until_ms, &owner); place++)
		if (until_ms <= batch->boot_ms)
			leave_place(batch, key, place);
}

static void join(struct lmdb_batch *batch, const struct cache_key *key,
		 struct store_bytes owner, struct lock_wait *wait)
{
	struct store_bytes value;

	if (wait->place == 0)
		wait->place = next_token(batch);
	struct lmdb_key name = place_key(key, wait->place);

	/* It may have been handed the lock once, and come too late. */
	if (!lmdb_get(batch, TABLE_AWAIT, lmdb_key_all(&name), &value))
		take_place(batch, key, wait->place, wait->wait_ms, owner);
}

/* Was the lock kept for him? */
static bool take_what_is_kept(struct lmdb_batch *batch,
			      const struct cache_key *key,
			      struct store_bytes owner)
{
	uint64_t place = 0;
	uint64_t until_ms;
	struct store_bytes whose;

	if (!find_place(batch, key, &place, &until_ms, &whose) || place != 0 ||
	    !store_bytes_equal(whose, owner))
		return false;
	leave_place(batch, key, 0);
	return true;
}

static uint64_t bit_of(const struct cache_key *key)
{
	return UINT64_C(1) << (key->bytes[0] & 63);
}

void lmdb_cache_lock(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_lock *request = call->request;
	struct lock_wait *wait = call->back_data;
	struct cache_key key = lmdb_cache_key(batch->lmdb, request->key);
	struct lock lock;
	bool is_held = lmdb_lock_find(batch, &key, &lock);
	uint64_t until_ms = batch->boot_ms + request->ttl_ms;

	if (is_held && !store_bytes_equal(lock.owner, request->owner)) {
		call->answer.result = STORE_BUSY;
		call->answer.lock.left_ms = lock.until_ms - batch->boot_ms;
		if (wait != NULL && wait->wants)
			join(batch, &key, request->owner, wait);
		else if (wait != NULL)
			leave_place(batch, &key, wait->place);
		return;
	}
	if (!is_held)
		lock.token = next_token(batch);
	/* It ends sooner than those who wait have been told. */
	if (is_held && lock.until_ms > until_ms)
		batch->lock_wakes |= bit_of(&key);
	lock.owner = request->owner;
	lock.until_ms = until_ms;
	put_lock(batch, &key, &lock);
	bool was_kept = take_what_is_kept(batch, &key, request->owner);

	if (wait != NULL && wait->place != 0)
		leave_place(batch, &key, wait->place);
	call->answer.result = STORE_DONE;
	call->answer.lock.token = lock.token;
	call->answer.lock.left_ms = request->ttl_ms;
	call->answer.lock.is_new = !is_held || was_kept;
}

/* Who is next gets it for a moment, in which he has to come. */
static bool hand_on(struct lmdb_batch *batch, const struct cache_key *key)
{
	struct lock lock = { .until_ms = batch->boot_ms + KEPT_MS };
	uint64_t place = 0;
	uint64_t until_ms;

	for (; find_place(batch, key, &place, &until_ms, &lock.owner);
	     place++) {
		leave_place(batch, key, place);
		if (place == 0 || until_ms <= batch->boot_ms)
			continue; /* did not come; waits no longer */
		take_place(batch, key, 0, KEPT_MS, lock.owner);
		lock.token = next_token(batch);
		put_lock(batch, key, &lock);
		return true;
	}
	return false;
}

void lmdb_cache_unlock(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_cache_unlock *request = call->request;
	struct cache_key key = lmdb_cache_key(batch->lmdb, request->key);
	struct lock lock;

	call->answer.result = STORE_LOST;
	if (!lmdb_lock_find(batch, &key, &lock) ||
	    !store_bytes_equal(lock.owner, request->owner) ||
	    (request->token != 0 && request->token != lock.token))
		return;
	call->answer.result = STORE_DONE;
	if (hand_on(batch, &key))
		batch->lock_wakes |= bit_of(&key);
	else
		lmdb_delete(batch, TABLE_LOCK, cache_key_bytes(&key));
}

/* ---- with the loop ---- */

static void listen(struct lmdb_store *user)
{
	uint64_t locks = 0;

	LIST_EACH (&user->lock_waits, link)
		locks |= LIST_ENTRY(link, struct lock_wait, link)->bit;
	lmdb_ear_wait_locks(user->ear, locks);
}

/* Who listens first and then tries misses nothing. */
static void try(struct lmdb_store *user, struct lock_wait *wait)
{
	uint64_t now_ms = loop_now_ms(user->store->loop);

	wait->is_asleep = wait->is_woken = false;
	wait->wants = now_ms < wait->until_ms && !wait->call->is_answered;
	wait->wait_ms = wait->wants ? wait->until_ms - now_ms : 0;
	listen(user);
	lmdb_submit(user, LANE_SHARED, wait->call);
}

static void set_timer(struct lmdb_store *user)
{
	uint64_t now_ms = loop_now_ms(user->store->loop);
	uint64_t first_ms = UINT64_MAX;

	LIST_EACH (&user->lock_waits, link) {
		const struct lock_wait *wait =
			LIST_ENTRY(link, struct lock_wait, link);

		if (wait->is_asleep && wait->look_ms < first_ms)
			first_ms = wait->look_ms;
	}
	if (first_ms == UINT64_MAX)
		timer_stop(user->locking);
	else
		timer_start(user->locking,
			    first_ms > now_ms ? first_ms - now_ms : 0, 0);
}

void lmdb_lock_start(struct lmdb_store *user, struct store_call *call)
{
	const struct store_cache_lock *request = call->request;
	struct cache_key key = lmdb_cache_key(user->lmdb, request->key);
	struct lock_wait *wait =
		arena_take_zeroed(&call->arena, 1, sizeof(*wait));

	wait->call = call;
	wait->bit = bit_of(&key);
	wait->until_ms = loop_now_ms(user->store->loop) + request->wait_ms;
	call->back_data = wait;
	list_add_last(&user->lock_waits, &wait->link);
	try(user, wait);
}

void lmdb_lock_came_back(struct lmdb_store *user, struct store_call *call)
{
	struct lock_wait *wait = call->back_data;
	uint64_t now_ms = loop_now_ms(user->store->loop);

	if (call->answer.error != 0 || call->answer.result != STORE_BUSY ||
	    !wait->wants || user->is_closing) {
		list_remove(&wait->link);
		listen(user);
		store_call_finish(call);
	} else if (wait->is_woken || call->is_answered ||
		   now_ms >= wait->until_ms) {
		try(user, wait);
	} else {
		wait->is_asleep = true;
		wait->look_ms = now_ms + call->answer.lock.left_ms + 1;
		if (wait->look_ms > wait->until_ms)
			wait->look_ms = wait->until_ms;
		set_timer(user);
	}
}

void lmdb_lock_on_time(void *owner)
{
	struct lmdb_store *user = owner;
	uint64_t now_ms = loop_now_ms(user->store->loop);

	LIST_EACH (&user->lock_waits, link) {
		struct lock_wait *wait =
			LIST_ENTRY(link, struct lock_wait, link);

		if (wait->is_asleep && wait->look_ms <= now_ms)
			try(user, wait);
	}
	set_timer(user);
}

void lmdb_lock_woken(struct lmdb_store *user, uint64_t locks)
{
	LIST_EACH (&user->lock_waits, link) {
		struct lock_wait *wait =
			LIST_ENTRY(link, struct lock_wait, link);

		if ((wait->bit & locks) == 0)
			continue;
		if (wait->is_asleep)
			try(user, wait);
		else
			wait->is_woken = true;
	}
	listen(user);
	set_timer(user);
}

void lmdb_lock_abandon(struct lmdb_store *user, struct store_call *call)
{
	struct lock_wait *wait = call->back_data;

	if (wait == NULL || !wait->is_asleep || user->store->is_closing)
		return; /* it comes back, or is ended */
	try(user, wait);
	set_timer(user);
}

void lmdb_locks_end(struct lmdb_store *user)
{
	LIST_EACH (&user->lock_waits, link) {
		struct lock_wait *wait =
			LIST_ENTRY(link, struct lock_wait, link);

		if (!wait->is_asleep)
			continue;
		list_remove(link);
		store_call_finish(wait->call);
	}
	timer_stop(user->locking);
}
