#include "service/cache.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/json.h"
#include "base/must.h"
#include "service/routine.h"

/* ---- what may be asked ---- */

int cache_key_problem(const char *key, struct problem *problem)
{
	size_t length = 0;

	if (key == NULL || key[0] == '\0')
		return problem_set(problem, -EINVAL, "KEY_INVALID",
				   "an empty text is no key of the cache");
	for (; key[length] != '\0'; length++) {
		unsigned char byte = (unsigned char)key[length];

		if (byte < ' ' || byte == 0x7f)
			return problem_set(
				problem, -EINVAL, "KEY_INVALID",
				"a key of the cache has no control bytes, but "
				"byte %zu is 0x%02x (encode it, in base64 or "
				"as %%%02X)",
				length + 1, byte, byte);
		if (length == MUSTER_CACHE_KEY_MAX)
			return problem_set(
				problem, -EMSGSIZE, "KEY_TOO_LONG",
				"the key '%.40s...' of the cache is longer "
				"than %d bytes (take a hash of it)",
				key, MUSTER_CACHE_KEY_MAX);
	}
	return 0;
}

int cache_check_key(struct muster *muster, const char *key)
{
	return cache_key_problem(key, routine_problem(muster));
}

int cache_check_value(struct muster *muster, size_t length, const char *type)
{
	size_t most = muster->settings.options.cache_value_bytes;

	if (length > most)
		return problem_set(
			routine_problem(muster), -EMSGSIZE, "VALUE_TOO_LARGE",
			"the value has %zu bytes, but %zu are the most (raise "
			"cache_value_bytes, or store a reference)",
			length, most);
	if (type == NULL)
		return 0;
	if (strlen(type) > MUSTER_CACHE_TYPE_MAX)
		return problem_set(routine_problem(muster), -EMSGSIZE,
				   "TYPE_INVALID",
				   "the type '%.40s...' is longer than %d "
				   "bytes",
				   type, MUSTER_CACHE_TYPE_MAX);
	for (; *type != '\0'; type++)
		if ((unsigned char)*type < ' ' || *type == 0x7f)
			return problem_set(routine_problem(muster), -EINVAL,
					   "TYPE_INVALID",
					   "a type has no control bytes");
	return 0;
}

int cache_begin(struct ask *ask, struct muster *muster, const char *key)
{
	int error = routine_check(muster);

	if (error == 0)
		error = cache_check_key(muster, key);
	return error < 0 ? error : ask_begin(ask, muster);
}

int cache_end(struct ask *ask)
{
	int error = ask_end(ask);

	if (error == -EMSGSIZE)
		routine_problem(ask->muster)->name = "VALUE_TOO_LARGE";
	if (error < 0)
		return error;
	switch (ask->answer->result) {
	case STORE_DONE:
	case STORE_WOKEN:
		return 0;
	case STORE_BUSY:
		return MUSTER_LOCKED;
	case STORE_LOST:
		return MUSTER_LOST;
	case STORE_NOT_FOUND:
		return MUSTER_NOT_FOUND;
	case STORE_KNOWN:
	case STORE_DUPLICATE:
	case STORE_QUEUE_FULL:
	case STORE_CANCELLED:
	case STORE_RETRYING:
	case STORE_DEAD:
	case STORE_TIMED_OUT:
	case STORE_STALE:
		break;
	}
	MUST(false); /* no answer about the cache */
	return -EIO;
}

/* ---- save ---- */

/* xorshift64*: which is good enough for what is spread by it. */
double cache_chance(struct muster *muster)
{
	uint64_t state = muster->dice;

	while (state == 0)
		MUST(getrandom(&state, sizeof(state), 0) == sizeof(state));
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	muster->dice = state;
	return ((double)(state * 0x2545f4914f6cdd1dU >> 12) + 0.5) /
	       (double)(1ULL << 52);
}

uint64_t cache_jitter(struct muster *muster, uint64_t ttl_ms)
{
	uint64_t span = ttl_ms / 5;

	return ttl_ms - span / 2 +
	       (uint64_t)((double)span * cache_chance(muster));
}

int cache_save(struct muster *muster, const struct store_cache_save *request)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cache_save(muster->store, request, ask_on_answer, &ask);
	return cache_end(&ask);
}

int muster_cache_save(struct muster *muster, const char *key, const void *data,
		      size_t length, const struct muster_cache_options *options)
{
	static const struct muster_cache_options none;
	int error = routine_check(muster);

	if (options == NULL)
		options = &none;
	if (error == 0)
		error = cache_check_key(muster, key);
	if (error == 0)
		error = cache_check_value(muster, length, options->type);
	if (error < 0)
		return error;
	const char *owner = options->lock == NULL ? NULL : options->lock->owner;
	uint64_t ttl_ms = options->ttl_ms;

	return cache_save(
		muster, &(struct store_cache_save){
				.key = store_text(key),
				.value = store_bytes(data, length),
				.type = store_text(options->type),
				.owner = store_text(owner),
				.ttl_ms = options->has_jitter
						  ? cache_jitter(muster, ttl_ms)
						  : ttl_ms,
			});
}

int muster_cache_save_text(struct muster *muster, const char *key,
			   const char *text,
			   const struct muster_cache_options *options)
{
	return muster_cache_save(muster, key, text, strlen(text), options);
}

int muster_cache_save_json(struct muster *muster, const char *key,
			   const struct muster_cache_options *options,
			   const char *format, ...)
{
	struct muster_cache_options own = { 0 };
	va_list arguments;

	if (options != NULL)
		own = *options;
	if (own.type == NULL)
		own.type = "application/json";
	va_start(arguments, format);
	const char *text = routine_json(muster, format, arguments);

	va_end(arguments);
	if (text[0] == '\0')
		return routine_problem(muster)->code;
	return muster_cache_save_text(muster, key, text, &own);
}

/* ---- load ---- */

/* "12,5000" or "none". */
static bool read_numbers(const char *text, struct cache_note *note)
{
	char *end = NULL;

	note->is_none = strcmp(text, "none") == 0;
	if (note->is_none)
		return true;
	note->cost_ms = strtoull(text, &end, 10);
	if (end == text || *end != ',')
		return false;
	text = end + 1;
	note->stale_ms = strtoull(text, &end, 10);
	return end != text && *end == '\0';
}

/* Takes the note off the type. */
static struct store_bytes read_note(struct store_bytes type,
				    struct cache_note *note)
{
	const char *at = type.length == 0
				 ? NULL
				 : memmem(type.data, type.length, CACHE_NOTE,
					  strlen(CACHE_NOTE));
	char numbers[48];

	*note = (struct cache_note){ 0 };
	if (at == NULL)
		return type;
	size_t length = (size_t)(at - type.data);
	size_t left = type.length - length - strlen(CACHE_NOTE);

	if (left >= sizeof(numbers))
		return type;
	memcpy(numbers, at + strlen(CACHE_NOTE), left);
	numbers[left] = '\0';
	if (!read_numbers(numbers, note)) {
		*note = (struct cache_note){ 0 };
		return type; /* not one of ours */
	}
	return store_bytes(type.data, length);
}

uint64_t cache_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void keep(struct muster *muster, const struct store_answer *answer,
		 struct muster_cached *cached, struct cache_note *note)
{
	struct store_bytes value = routine_keep(muster, answer->cache.value);
	struct store_bytes type = read_note(answer->cache.type, note);

	uint64_t expires_ms = answer->cache.expires_ms;

	if (expires_ms > note->stale_ms)
		expires_ms -= note->stale_ms;
	*cached = (struct muster_cached){
		.data = value.data,
		.length = value.length,
		.type = type.length == 0 ? "" : routine_keep(muster, type).data,
		.created_ms = answer->cache.created_ms,
		.expires_ms = expires_ms,
		.is_stale = note->stale_ms > 0 && cache_now_ms() >= expires_ms,
		.read_ms = answer->cache.read_ms,
	};
}

static int ask_load(struct muster *muster,
		    const struct store_cache_load *request,
		    struct muster_cached *cached, struct cache_note *note)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cache_load(muster->store, request, ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error == 0)
		keep(muster, ask.answer, cached, note);
	return error;
}

static int load(struct muster *muster, const char *key, uint64_t slide_ms,
		struct muster_cached *cached, struct cache_note *note)
{
	struct store_answer answer;
	int error = routine_check(muster);

	if (error == 0)
		error = cache_check_key(muster, key);
	if (error < 0)
		return error;
	const struct store_cache_load request = { .key = store_text(key),
						  .slide_ms = slide_ms };
	enum store_result result =
		muster->store == NULL
			? STORE_BUSY
			: store_cache_peek(muster->store, &request, &answer);

	if (result == STORE_BUSY)
		return ask_load(muster, &request, cached, note);
	if (result != STORE_DONE)
		return MUSTER_NOT_FOUND;
	keep(muster, &answer, cached, note);
	return 0;
}

int cache_load(struct muster *muster, const char *key, uint64_t slide_ms,
	       struct muster_cached *cached, struct cache_note *note)
{
	int error = load(muster, key, slide_ms, cached, note);

	if (error >= 0)
		meter_add(muster->meters,
			  error == 0 && !note->is_none ? METER_CACHE_HITS
						       : METER_CACHE_MISSES,
			  1);
	return error;
}

int muster_cache_load(struct muster *muster, const char *key,
		      struct muster_cached *cached)
{
	return muster_cache_load_sliding(muster, key, 0, cached);
}

int muster_cache_load_sliding(struct muster *muster, const char *key,
			      uint64_t ttl_ms, struct muster_cached *cached)
{
	struct cache_note note;
	int error = cache_load(muster, key, ttl_ms, cached, &note);

	return error == 0 && note.is_none ? MUSTER_NOT_FOUND : error;
}

int muster_cache_load_json(struct muster *muster, const char *key,
			   struct muster_cached *cached)
{
	int error = muster_cache_load(muster, key, cached);

	if (error != 0 || json_is_value(cached->data, cached->length))
		return error;
	return problem_set(routine_problem(muster), -EBADMSG, "CACHE_NOT_JSON",
			   "what '%.80s' holds in the cache is not JSON", key);
}

int muster_cache_expire(struct muster *muster, const char *key, uint64_t ttl_ms)
{
	struct ask ask;
	int error = cache_begin(&ask, muster, key);

	if (error < 0)
		return error;
	store_cache_expire(muster->store,
			   &(struct store_cache_expire){ .key = store_text(key),
							 .ttl_ms = ttl_ms },
			   ask_on_answer, &ask);
	return cache_end(&ask);
}

int muster_cache_destroy(struct muster *muster, const char *key,
			 const struct muster_lock *lock)
{
	struct ask ask;
	int error = cache_begin(&ask, muster, key);

	if (error < 0)
		return error;
	store_cache_destroy(
		muster->store,
		&(struct store_cache_destroy){
			.key = store_text(key),
			.owner = store_text(lock == NULL ? NULL : lock->owner),
		},
		ask_on_answer, &ask);
	return cache_end(&ask);
}

int muster_cache_add(struct muster *muster, const char *key, int64_t delta,
		     uint64_t ttl_ms, int64_t *value)
{
	struct ask ask;
	int error = cache_begin(&ask, muster, key);

	if (error < 0)
		return error;
	store_cache_add(muster->store,
			&(struct store_cache_add){ .key = store_text(key),
						   .delta = delta,
						   .ttl_ms = ttl_ms },
			ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error == 0 && value != NULL)
		*value = ask.answer->counter.value;
	return error;
}

/* ---- lists ---- */

int muster_cache_push(struct muster *muster, const char *key, const void *data,
		      size_t length, uint64_t ttl_ms)
{
	struct ask ask;
	int error = cache_begin(&ask, muster, key);

	if (error == 0)
		error = cache_check_value(muster, length, NULL);
	if (error < 0)
		return error;
	store_cache_push(muster->store,
			 &(struct store_cache_push){
				 .key = store_text(key),
				 .value = store_bytes(data, length),
				 .ttl_ms = ttl_ms,
			 },
			 ask_on_answer, &ask);
	return cache_end(&ask);
}

int muster_cache_pop(struct muster *muster, const char *key,
		     struct muster_cached *cached)
{
	struct cache_note note;
	struct ask ask;
	int error = cache_begin(&ask, muster, key);

	if (error < 0)
		return error;
	store_cache_pop(muster->store,
			&(struct store_cache_pop){ .key = store_text(key) },
			ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error == 0)
		keep(muster, ask.answer, cached, &note);
	return error;
}

int muster_cache_length(struct muster *muster, const char *key,
			uint64_t *length)
{
	struct ask ask;
	int error = cache_begin(&ask, muster, key);

	if (error < 0)
		return error;
	store_cache_length(
		muster->store,
		&(struct store_cache_length){ .key = store_text(key) },
		ask_on_answer, &ask);
	error = cache_end(&ask);
	*length = error == 0 ? ask.answer->number.value : 0;
	return error == MUSTER_NOT_FOUND ? 0 : error;
}

/* ---- all of it ---- */

/* A prefix is empty, or could be a key. */
static int begin_prefix(struct ask *ask, struct muster *muster,
			const char *prefix)
{
	if (prefix == NULL || prefix[0] == '\0')
		return ask_begin(ask, muster);
	return cache_begin(ask, muster, prefix);
}

static void keep_page(struct muster *muster, const struct store_answer *answer,
		      struct muster_cache_page *page)
{
	struct store_bytes cursor = answer->keys.cursor;
	const char **keys = arena_take_zeroed(
		routine_answers(muster), answer->keys.count + 1, sizeof(*keys));

	for (size_t i = 0; i < answer->keys.count; i++)
		keys[i] = routine_keep(muster, answer->keys.keys[i]).data;
	page->keys = keys;
	page->count = answer->keys.count;
	page->has_more = cursor.length > 0;
	MUST(cursor.length < sizeof(page->cursor));
	page->cursor[0] = (char)cursor.length;
	if (page->has_more)
		memcpy(page->cursor + 1, cursor.data, cursor.length);
}

int muster_cache_keys(struct muster *muster, const char *prefix,
		      struct muster_cache_page *page)
{
	size_t length = (unsigned char)page->cursor[0];
	struct ask ask;
	int error = begin_prefix(&ask, muster, prefix);

	if (error < 0)
		return error;
	if (length >= sizeof(page->cursor))
		return problem_set(routine_problem(muster), -EINVAL,
				   "CURSOR_INVALID",
				   "the page of keys was not zeroed before its "
				   "first use");
	store_cache_keys(
		muster->store,
		&(struct store_cache_keys){
			.prefix = store_text(prefix),
			.cursor = store_bytes(page->cursor + 1, length),
			.limit = page->limit,
		},
		ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error == 0)
		keep_page(muster, ask.answer, page);
	return error;
}

int muster_cache_size(struct muster *muster, uint64_t *count)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cache_size(muster->store, &(struct store_cache_size){ 0 },
			 ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error == 0)
		*count = ask.answer->number.value;
	return error;
}

int muster_cache_clear(struct muster *muster, const char *prefix,
		       uint64_t *count)
{
	struct ask ask;
	int error = begin_prefix(&ask, muster, prefix);

	if (error < 0)
		return error;
	store_cache_clear(
		muster->store,
		&(struct store_cache_clear){ .prefix = store_text(prefix) },
		ask_on_answer, &ask);
	error = cache_end(&ask);
	if (error == 0 && count != NULL)
		*count = ask.answer->number.value;
	return error;
}
