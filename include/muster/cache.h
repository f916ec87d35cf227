/*
 * muster/cache.h - values that all servers of a cluster share: bytes with a
 * content type and an end, counters, lists.
 *
 *     struct muster_cached cached;
 *     int answer = muster_cache_load(muster, key, &cached);
 *
 *     if (answer == MUSTER_NOT_FOUND)
 *             answer = muster_cache_save_text(muster, key, "hello",
 *                     &(struct muster_cache_options){ .ttl_ms = 60000 });
 *
 * The rules of muster/node.h hold: call from fibers, 0 is done, a positive
 * value is an answer listed here, a negative one is -errno with
 * muster_problem(). Options may be NULL. An embedded store answers a load
 * without waiting.
 *
 * A key is 1 to MUSTER_CACHE_KEY_MAX bytes without control bytes (-EINVAL,
 * KEY_INVALID; -EMSGSIZE, KEY_TOO_LONG). A value is any bytes, up to
 * cache_value_bytes of the node (-EMSGSIZE, VALUE_TOO_LARGE); in an embedded
 * store also up to a 64th of cache_bytes. What a key holds is a value, a
 * counter (which is a value of decimal digits) or a list: a call for the other
 * kind fails with -EINVAL, CACHE_WRONG_TYPE.
 *
 * It is a cache: a full embedded store drops what was not read for longest,
 * and a power loss may take all of it. What must last is not for it.
 */
#ifndef MUSTER_CACHE_H
#define MUSTER_CACHE_H

#include <muster/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MUSTER_CACHE_KEY_MAX  1024
#define MUSTER_CACHE_TYPE_MAX 80
#define MUSTER_OWNER_MAX      128

struct muster;

/* One that is held: see muster_cache_lock(). */
struct muster_lock {
	char owner[MUSTER_OWNER_MAX + 1];
	uint64_t token;
	uint64_t left_ms; /* of its time; MUSTER_LOCKED: of the other one's */
};

/* ---- Values ------------------------------------------------------------- */

struct muster_cache_options {
	uint64_t ttl_ms; /* 0: for ever */
	/* Up to a tenth more or less, so that what was saved together does not
	 * end together. */
	bool has_jitter;
	const char *type; /* of the content, as in "text/plain"; NULL: none */
	/* One that is held, where the key may be locked. */
	const struct muster_lock *lock;
};

/* What is in the cache. Belongs to the fiber. */
struct muster_cached {
	const char *data; /* a NUL follows, which does not count */
	size_t length;
	const char *type;    /* "" where none was given */
	uint64_t created_ms; /* since 1970, as the next two */
	uint64_t expires_ms; /* 0: never */
	uint64_t read_ms;    /* the last time before; 0: never. Told to the
			      * second */
	bool is_stale;       /* muster_cache_compute(): that is past */
};

/* In the place of whatever was there. MUSTER_LOCKED: by another one. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_save(struct muster *muster, const char *key, const void *data,
		  size_t length, const struct muster_cache_options *options);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_save_text(struct muster *muster, const char *key, const char *text,
		       const struct muster_cache_options *options);
/* The value is made as by muster_json(); the type, where none is given, is
 * application/json. -EINVAL, JSON_INVALID: that gives no JSON. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_save_json(struct muster *muster, const char *key,
		       const struct muster_cache_options *options,
		       const char *format, ...);

/* MUSTER_NOT_FOUND: there is none, or it has expired. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_load(struct muster *muster, const char *key,
		  struct muster_cached *cached);
/* The same where the value has to be JSON, whatever its type says: -EBADMSG,
 * CACHE_NOT_JSON. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_load_json(struct muster *muster, const char *key,
		       struct muster_cached *cached);
/* The same, and it expires ttl_ms from now, in one step. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_load_sliding(struct muster *muster, const char *key,
			  uint64_t ttl_ms, struct muster_cached *cached);

/* It, or a list or a counter, expires ttl_ms from now; 0: never. Its lock is
 * not asked for. MUSTER_NOT_FOUND. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_expire(struct muster *muster, const char *key, uint64_t ttl_ms);

/* `lock` as in the options; NULL: none. MUSTER_NOT_FOUND, MUSTER_LOCKED. */
MUSTER_PUBLIC int muster_cache_destroy(struct muster *muster, const char *key,
				       const struct muster_lock *lock);

/* A counter: adds delta, which may be negative, to what is there or to 0, and
 * gives the sum in *value (NULL: not wanted). ttl_ms counts where it is new; 0:
 * for ever. -EINVAL, CACHE_NOT_A_NUMBER: no counter is there; -ERANGE,
 * CACHE_OVERFLOW: the sum has no room. */
MUSTER_PUBLIC int muster_cache_add(struct muster *muster, const char *key,
				   int64_t delta, uint64_t ttl_ms,
				   int64_t *value);

/* ---- Lists -------------------------------------------------------------- */

/* At the end. ttl_ms is set for the whole list, anew with each; 0: left as it
 * is, for ever at first. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_push(struct muster *muster, const char *key, const void *data,
		  size_t length, uint64_t ttl_ms);
/* From the front. MUSTER_NOT_FOUND: the list is empty. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_pop(struct muster *muster, const char *key,
		 struct muster_cached *cached);
/* How many are in it; 0 where there is no list. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_length(struct muster *muster, const char *key, uint64_t *length);

/* ---- Locks ---------------------------------------------------------------
 *
 * A lock is a hint with a lease: it lasts for its time and no longer, whoever
 * believes to hold it, and a holder that was stopped for a while does not know
 * that it has lost it. Saves and destroys of the key by others are refused
 * meanwhile. What must not be done twice, elsewhere, is protected by the token
 * alone, which grows with every lock of the key: whatever is written to can
 * refuse a token that is smaller than the last.
 */

struct muster_lock_options {
	uint64_t ttl_ms;  /* how long it lasts; 0: 10,000 */
	uint32_t wait_ms; /* for it, in turn; 0: not at all */
	/* Whoever names the same one holds the same lock, and calls again to
	 * prolong it; NULL: one that nobody else has. */
	const char *owner;
};

/* MUSTER_LOCKED: by another one, for lock->left_ms. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_lock(struct muster *muster, const char *key,
		  const struct muster_lock_options *options,
		  struct muster_lock *lock);
/* It lasts ttl_ms from now; 0: 10,000. MUSTER_LOST: it was not held any more,
 * and is not now. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_prolong(struct muster *muster, const char *key, uint64_t ttl_ms,
		     struct muster_lock *lock);
/* MUSTER_LOST: it was not held any more. */
MUSTER_PUBLIC int muster_cache_unlock(struct muster *muster, const char *key,
				      const struct muster_lock *lock);

/* ---- Load, or compute ---------------------------------------------------
 *
 * However many ask for what is not there, or no longer, one of them computes
 * it: one fiber of a process, and one process of the cluster, by a lock. The
 * others wait for it; with stale_ms they get the old value meanwhile. Shortly
 * before its time is over one of those who ask computes it anew, the earlier
 * the longer that takes, so that it need not be missing at all.
 *
 * What is destroyed while it is computed is saved again when that is done.
 */

/* Zeroed before. */
struct muster_computed {
	const void *data; /* good until the function that set it has returned
			   * and the fiber waits again: it is copied */
	size_t length;
	const char *type;
};

/* On the fiber of one who asked; may wait. 0 with *computed; MUSTER_NOT_FOUND:
 * there is none, which is remembered for negative_ms (and is among the keys so
 * long); a failure (negative) is not, and goes to all who wait, unless there is
 * an old value. */
typedef int (*muster_compute_fn)(struct muster *muster, const char *key,
				 struct muster_computed *computed, void *arg);

struct muster_cache_compute_options {
	muster_compute_fn fn;
	void *arg;
	uint64_t ttl_ms;      /* 0: for ever */
	uint64_t stale_ms;    /* served so much longer while it is computed
			       * anew, and where that fails */
	uint64_t negative_ms; /* 0: 1,000 */
	uint64_t lock_ms;     /* longer than it takes to compute; 0: 10,000 */
	uint32_t wait_ms;     /* for another one who computes; 0: 30,000 */
	bool has_jitter;      /* as of the options of a save */
};

/* MUSTER_NOT_FOUND: fn has said so. MUSTER_LOCKED: another one computes it, and
 * was not done in wait_ms. The key has at most MUSTER_CACHE_KEY_MAX - 8
 * bytes. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_compute(struct muster *muster, const char *key,
		     const struct muster_cache_compute_options *options,
		     struct muster_cached *cached);

/* ---- All of it ---------------------------------------------------------- */

/* Zeroed, with a limit, before the first call; the same for the next. */
struct muster_cache_page {
	uint32_t limit;          /* keys at a time; 0: 1,000, the most */
	const char *const *keys; /* belong to the fiber */
	size_t count;            /* may be 0 though there is more */
	bool has_more;
	char cursor[128]; /* where the next page begins; not to be looked at */
};

/* The keys that begin with `prefix` ("": all), a page at a time:
 *
 *     struct muster_cache_page page = { .limit = 100 };
 *     do
 *             answer = muster_cache_keys(muster, "user:", &page);
 *             ... page.keys[0 .. page.count] ...
 *     while (answer == 0 && page.has_more);
 *
 * In no order. What comes and goes meanwhile may be missing; all else is there,
 * on Redis now and then twice. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_keys(struct muster *muster, const char *prefix,
		  struct muster_cache_page *page);
/* How many keys there are. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_cache_size(struct muster *muster,
						     uint64_t *count);
/* Destroys what begins with `prefix` ("": everything, locks too), locked or
 * not. *count, which may be NULL, is how many they were. */
MUSTER_PUBLIC int muster_cache_clear(struct muster *muster, const char *prefix,
				     uint64_t *count);

/* ---- To and from a file --------------------------------------------------
 *
 * Lines of JSON, for people to read: what the file is, each entry with what it
 * was made and expires at, and how many they are. Locks are not in it. Neither
 * call blocks the loop.
 */

/* Writes all there is, into a new file that takes the place of `path` when it
 * is whole and on the disk. What changes meanwhile may be in it or not. *count,
 * which may be NULL: how many keys. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_dump(struct muster *muster, const char *path, uint64_t *count);

struct muster_cache_restored {
	uint64_t count;   /* of keys that were put back */
	uint64_t expired; /* of those whose time was over */
};

/* Puts each entry of the file in the place of what is there, with what is left
 * of its time; the rest of the cache stays. The file is read twice: one that is
 * torn, damaged or something else is refused before anything is changed
 * (-EBADMSG, DUMP_FOREIGN, DUMP_VERSION, DUMP_DAMAGED, DUMP_TORN), as is one
 * with a value over the limit. *restored, which may be NULL, counts what was
 * done also where it fails later on. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_cache_restore(struct muster *muster, const char *path,
		     struct muster_cache_restored *restored);

#ifdef __cplusplus
}
#endif

#endif
