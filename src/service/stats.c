#include "service/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "service/ask.h"
#include "service/routine.h"

#define FLUSH_MS      1000
#define STAT_NAME_MAX 48
#define ENTRIES       10000
#define BATCH         400 /* entries; each is two lines of the store at most */
#define SLOTS_LEAST   64
#define LAST_TRIES    2

struct entry {
	char *name;
	uint64_t hash;
	int64_t value; /* a gauge's; of a counter, what is not told */
	bool is_gauge;
	bool is_dirty;
};

/* What is under way, or is to be asked again as it was. */
struct batch {
	struct arena arena;
	struct store_stat *stats;
	size_t count; /* 0: there is none */
	uint64_t sequence;
	char source[NODE_NONCE_BYTES];
	bool is_asked;
};

struct stats {
	struct muster *muster;
	struct entry *entries;
	uint32_t count;
	uint32_t *slots; /* index + 1 into entries, by hash */
	uint32_t slot_count;
	uint32_t *dirty;
	uint32_t dirty_count;
	uint64_t sequence;
	char source[NODE_NONCE_BYTES]; /* that the sequence is of */
	struct batch batch;
	struct timer *timer;
	struct list waiting; /* fibers, for the answer */
	bool has_complained;
};

struct waiting {
	struct list link;
	struct fiber_wait wait;
};

/* ---- names ---- */

static uint64_t hash_of(const char *name, size_t *length)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	const char *at = name;

	for (; *at != '\0'; at++)
		hash = (hash ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
	*length = (size_t)(at - name);
	return hash ^ hash >> 32;
}

static bool is_name(const char *name, size_t length)
{
	for (const char *at = name; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f || *at == '|')
			return false;
	return length > 0 && length <= STAT_NAME_MAX && name[0] != '@';
}

static void place(struct stats *stats, uint32_t index)
{
	uint32_t mask = stats->slot_count - 1;
	uint32_t at = (uint32_t)stats->entries[index].hash & mask;

	while (stats->slots[at] != 0)
		at = (at + 1) & mask;
	stats->slots[at] = index + 1;
}

/* At most half of the slots are taken. */
static void make_room(struct stats *stats)
{
	if (stats->count * 2 < stats->slot_count)
		return;
	stats->slot_count =
		stats->slot_count == 0 ? SLOTS_LEAST : stats->slot_count * 2;
	free(stats->slots);
	stats->slots = mem_zalloc(stats->slot_count * sizeof(*stats->slots));
	size_t most = stats->slot_count / 2 + 1;

	stats->entries =
		mem_resize(stats->entries, most, sizeof(*stats->entries));
	stats->dirty = mem_resize(stats->dirty, most, sizeof(*stats->dirty));
	for (uint32_t i = 0; i < stats->count; i++)
		place(stats, i);
}

static void complain(struct stats *stats, const char *name, const char *why)
{
	if (stats->has_complained)
		return;
	stats->has_complained = true;
	log_warn(&stats->muster->log,
		 "a statistic is not counted, nor those like it name=%.80s "
		 "text=\"%s\"",
		 name, why);
}

static struct entry *add_entry(struct stats *stats, const char *name,
			       uint64_t hash, bool is_gauge)
{
	if (stats->count == ENTRIES) {
		complain(stats, name, "there are too many");
		return NULL;
	}
	make_room(stats);
	struct entry *entry = &stats->entries[stats->count];

	*entry = (struct entry){ .name = mem_text(name),
				 .hash = hash,
				 .is_gauge = is_gauge };
	place(stats, stats->count++);
	return entry;
}

static struct entry *find(struct stats *stats, const char *name, bool is_gauge)
{
	size_t length;
	uint64_t hash = hash_of(name, &length);
	uint32_t mask = stats->slot_count - 1;

	for (uint32_t at = (uint32_t)hash & mask;
	     stats->slot_count > 0 && stats->slots[at] != 0;
	     at = (at + 1) & mask) {
		struct entry *entry = &stats->entries[stats->slots[at] - 1];

		if (entry->hash != hash || strcmp(entry->name, name) != 0)
			continue;
		if (entry->is_gauge == is_gauge)
			return entry;
		complain(stats, name, "it is a counter and a gauge");
		return NULL;
	}
	if (is_name(name, length))
		return add_entry(stats, name, hash, is_gauge);
	complain(stats, name, "it is no name");
	return NULL;
}

/* ---- telling the store ---- */

static bool has_news(const struct stats *stats)
{
	return stats->batch.count > 0 || stats->dirty_count > 0;
}

static void put(struct batch *batch, const struct store_stat *stat,
		const char *server, char kind, const char *name)
{
	size_t length = strlen(server) + strlen(name) + 2;
	char *room = arena_take(&batch->arena, length + 1);

	if (kind == '\0')
		memcpy(room, name, strlen(name) + 1);
	else
		snprintf(room, length + 1, "@%s%c%s", server, kind, name);
	batch->stats[batch->count] = *stat;
	batch->stats[batch->count++].name = store_text(room);
}

/* A guest has no name of its own: what it counts is everyone's, and it has no
 * gauges. */
static void put_entry(struct stats *stats, const struct entry *entry)
{
	const char *id = stats->muster->id;
	const struct store_stat stat = { .value = entry->value,
					 .is_gauge = entry->is_gauge };

	if (!entry->is_gauge)
		put(&stats->batch, &stat, "", '\0', entry->name);
	if (id[0] != '\0')
		put(&stats->batch, &stat, id, entry->is_gauge ? '=' : '/',
		    entry->name);
}

static void clear_batch(struct stats *stats)
{
	arena_fini(&stats->batch.arena);
	stats->batch = (struct batch){ 0 };
}

/* The numbers of one source grow; a new life of the node is a new source. */
static void number_batch(struct stats *stats)
{
	const char *nonce = stats->muster->nonce;

	if (strcmp(stats->source, nonce) != 0) {
		memcpy(stats->source, nonce, NODE_NONCE_BYTES);
		stats->sequence = 0;
	}
	stats->batch.sequence = ++stats->sequence;
	memcpy(stats->batch.source, stats->source, NODE_NONCE_BYTES);
}

static void make_batch(struct stats *stats)
{
	struct batch *batch = &stats->batch;
	uint32_t count =
		stats->dirty_count < BATCH ? stats->dirty_count : BATCH;

	batch->stats = arena_take_zeroed(&batch->arena, (size_t)count * 2,
					 sizeof(*batch->stats));
	for (uint32_t i = 0; i < count; i++) {
		struct entry *entry =
			&stats->entries[stats->dirty[stats->dirty_count - 1]];

		stats->dirty_count--;
		put_entry(stats, entry);
		entry->is_dirty = false;
		if (!entry->is_gauge)
			entry->value = 0;
	}
	number_batch(stats);
	if (batch->count == 0)
		clear_batch(stats); /* gauges of a guest */
}

static void set_timer(struct stats *stats)
{
	if (stats->timer != NULL && !timer_is_started(stats->timer))
		timer_start(stats->timer, FLUSH_MS, 0);
}

static void wake_all(struct stats *stats)
{
	struct list woken;

	list_init(&woken);
	while (!list_is_empty(&stats->waiting))
		list_add_last(&woken, list_take_first(&stats->waiting));
	while (!list_is_empty(&woken))
		fiber_wake(LIST_ENTRY(list_take_first(&woken), struct waiting,
				      link)
				   ->wait,
			   0);
}

static void on_flushed(void *owner, const struct store_answer *answer)
{
	struct stats *stats = owner;

	stats->batch.is_asked = false;
	if (answer->error == 0)
		clear_batch(stats);
	else
		log_debug(&stats->muster->log,
			  "statistics are told again text=\"%s\"",
			  answer->problem->text);
	if (has_news(stats) && stats->muster->state < NODE_STOPPING)
		set_timer(stats);
	wake_all(stats);
}

/* A node that has no name yet tells nothing. */
static void flush(struct stats *stats)
{
	struct muster *muster = stats->muster;
	struct batch *batch = &stats->batch;

	if (batch->is_asked || muster->store == NULL)
		return;
	if (muster->id[0] == '\0' && !muster->settings.options.is_guest)
		return;
	if (batch->count == 0 && stats->dirty_count > 0)
		make_batch(stats);
	if (batch->count == 0)
		return;
	batch->is_asked = true;
	store_stats_flush(muster->store,
			  &(struct store_stats_flush){
				  .source = store_text(batch->source),
				  .sequence = batch->sequence,
				  .stats = batch->stats,
				  .count = batch->count,
			  },
			  on_flushed, stats);
}

/* On a fiber: until the store has answered what is under way. -EAGAIN: nothing
 * is, as this node has no name yet. */
static int flush_and_wait(struct stats *stats)
{
	struct waiting waiting = { .wait = fiber_wait_begin() };

	flush(stats);
	if (!stats->batch.is_asked)
		return -EAGAIN;
	list_add_last(&stats->waiting, &waiting.link);
	int error = routine_park(stats->muster, waiting.wait, 0);

	if (list_is_linked(&waiting.link))
		list_remove(&waiting.link);
	return error;
}

static void on_time(void *owner)
{
	flush(owner);
}

/* ---- counting ---- */

static struct stats *stats_of(struct muster *muster)
{
	if (muster->stats != NULL)
		return muster->stats;
	struct stats *stats = mem_zalloc(sizeof(*stats));

	muster->stats = stats;
	stats->muster = muster;
	list_init(&stats->waiting);
	if (muster->state < NODE_CLOSING)
		stats->timer = timer_open(muster->loop, on_time, stats, false);
	return stats;
}

static void soil(struct stats *stats, struct entry *entry)
{
	if (entry->is_dirty)
		return;
	entry->is_dirty = true;
	stats->dirty[stats->dirty_count++] = (uint32_t)(entry - stats->entries);
	set_timer(stats);
}

void muster_stat_add(struct muster *muster, const char *name, int64_t delta)
{
	struct stats *stats = stats_of(muster);
	struct entry *entry = find(stats, name, false);

	if (entry == NULL)
		return;
	entry->value = (int64_t)((uint64_t)entry->value + (uint64_t)delta);
	soil(stats, entry);
}

void muster_stat_set(struct muster *muster, const char *name, int64_t value)
{
	struct stats *stats = stats_of(muster);
	struct entry *entry = find(stats, name, true);

	if (entry == NULL)
		return;
	entry->value = value;
	soil(stats, entry);
}

/* ---- reading ---- */

static int by_name(const void *first, const void *second)
{
	const struct muster_stat *a = first;
	const struct muster_stat *b = second;

	return strcmp(a->name, b->name);
}

/* NAME, @SERVER/NAME, @SERVER=NAME; the server is empty where there is none. */
static bool split(struct store_bytes whole, struct store_bytes *server,
		  struct store_bytes *name, char *kind)
{
	*server = store_bytes("", 0);
	*name = whole;
	*kind = '\0';
	if (whole.length == 0 || whole.data[0] != '@')
		return whole.length > 0;
	for (size_t i = 1; i < whole.length; i++)
		if (whole.data[i] == '/' || whole.data[i] == '=') {
			*server = store_bytes(whole.data + 1, i - 1);
			*name = store_bytes(whole.data + i + 1,
					    whole.length - i - 1);
			*kind = whole.data[i];
			return true;
		}
	return false;
}

static bool begins_with(struct store_bytes text, const char *prefix)
{
	size_t length = strlen(prefix);

	return text.length >= length && memcmp(text.data, prefix, length) == 0;
}

static bool is_wanted(const struct store_stat *stat, const char *server,
		      const char *prefix, struct store_bytes *name, bool *gauge)
{
	struct store_bytes its;
	char kind;

	if (!split(stat->name, &its, name, &kind) ||
	    !begins_with(*name, prefix))
		return false;
	*gauge = kind == '=';
	if (server == NULL)
		return kind != '/';
	return its.length == strlen(server) &&
	       memcmp(its.data, server, its.length) == 0;
}

/* A gauge of all is the sum of theirs. */
static size_t merge(struct muster_stat *stats, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (kept > 0 &&
		    strcmp(stats[kept - 1].name, stats[i].name) == 0)
			stats[kept - 1].value += stats[i].value;
		else
			stats[kept++] = stats[i];
	}
	return kept;
}

static int read_stats(struct muster *muster, const char *prefix,
		      struct ask *ask)
{
	int error = ask_begin(ask, muster);

	if (error < 0)
		return error;
	store_stats_read(muster->store,
			 &(struct store_stats_read){ store_text(prefix) },
			 ask_on_answer, ask);
	return ask_end(ask);
}

int muster_stats(struct muster *muster, const char *server, const char *prefix,
		 struct muster_stat_list *list)
{
	struct ask ask;
	int error = routine_check(muster);

	while (error == 0 && has_news(stats_of(muster))) {
		error = flush_and_wait(muster->stats);
		if (muster->stats->batch.count > 0)
			break; /* the store is away */
	}
	if (error == 0 || error == -EAGAIN)
		error = read_stats(muster, "", &ask);
	if (error != 0)
		return error;
	struct arena *arena = routine_answers(muster);
	size_t most = ask.answer->stats.count;
	struct muster_stat *stats =
		arena_take_zeroed(arena, most, sizeof(*stats));
	size_t count = 0;

	for (size_t i = 0; i < most; i++) {
		const struct store_stat *stat = &ask.answer->stats.list[i];
		struct store_bytes name;

		if (!is_wanted(stat, server, prefix == NULL ? "" : prefix,
			       &name, &stats[count].is_gauge))
			continue;
		stats[count].name = arena_text(arena, name.data, name.length);
		stats[count++].value = stat->value;
	}
	qsort(stats, count, sizeof(*stats), by_name);
	*list = (struct muster_stat_list){ stats, merge(stats, count) };
	return 0;
}

/* ---- the part ---- */

/* Its gauges are no more; what it counted stays. */
static int remove_gauges(struct muster *muster, const char *id)
{
	char *prefix = mem_format("@%s=", id);
	struct ask ask;
	int error = read_stats(muster, prefix, &ask);
	size_t count = error < 0 ? 0 : ask.answer->stats.count;

	free(prefix);
	while (error == 0 && count > 0) {
		size_t some = count < STORE_BATCH_MAX ? count : STORE_BATCH_MAX;
		struct arena *arena = routine_answers(muster);
		struct store_stat *gone =
			arena_take_zeroed(arena, some, sizeof(*gone));

		for (size_t i = 0; i < some; i++) {
			gone[i].name = routine_keep(
				muster, ask.answer->stats.list[i].name);
			gone[i].is_removed = true;
		}
		error = ask_begin(&ask, muster);
		if (error < 0)
			break;
		store_stats_flush(muster->store,
				  &(struct store_stats_flush){ .stats = gone,
							       .count = some },
				  ask_on_answer, &ask);
		error = ask_end(&ask);
		if (count == some || error < 0)
			break;
		prefix = mem_format("@%s=", id);
		error = read_stats(muster, prefix, &ask);
		free(prefix);
		count = error < 0 ? 0 : ask.answer->stats.count;
	}
	return error;
}

static int reap(struct muster *muster, const char *id, const char *nonce)
{
	(void)nonce;
	return remove_gauges(muster, id);
}

/* Others have removed this node's gauges: what is asked again must not bring
 * them back under a name that may be another's. */
static void on_lost(struct muster *muster)
{
	struct stats *stats = muster->stats;

	for (size_t i = 0; stats != NULL && i < stats->batch.count; i++)
		if (stats->batch.stats[i].is_gauge)
			stats->batch.stats[i].is_removed = true;
}

static void on_rejoin(struct muster *muster)
{
	struct stats *stats = muster->stats;

	for (uint32_t i = 0; stats != NULL && i < stats->count; i++)
		if (stats->entries[i].is_gauge)
			soil(stats, &stats->entries[i]);
}

static int start(struct muster *muster)
{
	struct stats *stats = stats_of(muster);

	if (has_news(stats))
		set_timer(stats);
	return 0;
}

/* No more is to come of this source. */
static int forget_source(struct stats *stats)
{
	struct muster *muster = stats->muster;
	struct ask ask;
	int error = 0;

	if (stats->source[0] == '\0')
		return 0;
	error = ask_begin(&ask, muster);
	if (error < 0)
		return error;
	store_stats_flush(muster->store,
			  &(struct store_stats_flush){
				  .source = store_text(stats->source),
				  .sequence = stats->sequence + 1,
				  .is_last = true,
			  },
			  ask_on_answer, &ask);
	return ask_end(&ask);
}

static bool has_gauges(const struct stats *stats)
{
	for (uint32_t i = 0; i < stats->count; i++)
		if (stats->entries[i].is_gauge)
			return true;
	return false;
}

static void stop(struct muster *muster)
{
	struct stats *stats = muster->stats;
	int tries = LAST_TRIES;
	int error = 0;

	timer_stop(stats->timer);
	while (error == 0 && has_news(stats) && tries > 0) {
		error = flush_and_wait(stats);
		if (stats->batch.count > 0)
			tries--;
	}
	if (stats->batch.count > 0 || stats->dirty_count > 0)
		log_warn(&muster->log,
			 "what was counted last is lost, as the store is away "
			 "names=%zu",
			 stats->batch.count + stats->dirty_count);
	else
		error = forget_source(stats);
	if (error == 0 && has_gauges(stats) && muster->id[0] != '\0')
		DISCARD(remove_gauges(muster, muster->id)); /* as if it died */
}

static void free_stats(struct muster *muster)
{
	struct stats *stats = muster->stats;

	if (stats == NULL)
		return;
	timer_close(stats->timer);
	arena_fini(&stats->batch.arena);
	for (uint32_t i = 0; i < stats->count; i++)
		free(stats->entries[i].name);
	free(stats->entries);
	free(stats->slots);
	free(stats->dirty);
	free(stats);
	muster->stats = NULL;
}

const struct node_part stats_part = {
	.name = "stats",
	.start = start,
	.reap = reap,
	.on_lost = on_lost,
	.on_rejoin = on_rejoin,
	.stop = stop,
	.free = free_stats,
};
