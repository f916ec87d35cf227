/* The smaller parts: who fires recurring tasks, who reaps, and who looks. */
#include <errno.h>
#include <inttypes.h>
#include <muster/cache.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/must.h"
#include "chaos.h"
#include "service/ask.h"

#define RETRY_MS 20
#define LOOK_MS  50
#define SLOW_US  250000 /* others may lose a lease through that */
#define PAGE     1000
#define READERS  64

static uint64_t real_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* How far a walk is: bytes of the store's. */
struct cursor {
	char bytes[512];
	size_t length;
};

static void keep_cursor(struct cursor *cursor, struct store_bytes given)
{
	MUST(given.length <= sizeof(cursor->bytes));
	if (given.length > 0)
		memcpy(cursor->bytes, given.data, given.length);
	cursor->length = given.length;
}

/* ---- scheduler ---- */

/* Any number of them race for each due time. */
static int fire(struct muster *muster, const char *name, uint64_t *expected_ms)
{
	char id[NAME_BYTES];
	uint64_t next_ms = *expected_ms == 0 ? real_ms() + CHAOS_EVERY_MS
					     : *expected_ms + CHAOS_EVERY_MS;

	snprintf(id, sizeof(id), "cron:%s:%" PRIu64, name, *expected_ms);
	const struct store_task task = {
		.id = store_text(id),
		.envelope = store_text(NOTHING_TO_DO),
		.at_ms = *expected_ms,
	};
	const struct store_cron_fire request = {
		.name = store_text(name),
		.spec = store_text("every 200 ms"),
		.expected_ms = *expected_ms,
		.next_ms = next_ms,
		.task = *expected_ms == 0 ? NULL : &task,
	};
	struct ask ask;

	chaos_line("fire %s %" PRIu64 " %" PRIu64, name, *expected_ms, next_ms);
	chaos_flush();
	int error = ask_begin(&ask, muster);

	if (error == 0) {
		store_cron_fire(muster->store, &request, ask_on_answer, &ask);
		error = ask_end(&ask);
	}
	if (error < 0)
		return error;
	chaos_line("fired %s %" PRIu64 " %d", name, *expected_ms,
		   (int)ask.answer->result);
	chaos_flush();
	*expected_ms = ask.answer->cron.at_ms;
	return 0;
}

void scheduler_role(struct muster *muster, void *arg)
{
	const struct chaos *chaos = arg;
	uint64_t expected_ms = 0;

	while (!chaos->is_stopping) {
		uint64_t now_ms = real_ms();

		/* A clock that is off by more than that is not waited for: the
		 * task itself is held back by the store's. */
		if (expected_ms > now_ms &&
		    muster_sleep(muster, expected_ms - now_ms < CHAOS_EVERY_MS
						 ? expected_ms - now_ms
						 : CHAOS_EVERY_MS) < 0)
			return;
		int error = fire(muster, "tick", &expected_ms);

		muster_clear_answers(muster);
		if (error == -ECANCELED ||
		    (error < 0 && muster_sleep(muster, RETRY_MS) < 0))
			return;
	}
}

/* ---- reaper ---- */

static void read_line(void *arg)
{
	char *line = arg;

	if (fgets(line, 2 * NAME_BYTES, stdin) == NULL)
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
}

/* A line on its input is an owner who is dead. */
void reaper_role(struct muster *muster, void *arg)
{
	static char line[2 * NAME_BYTES];

	(void)arg;
	printf("ready\n");
	fflush(stdout);
	while (muster_blocking(muster, read_line, line) == 0 &&
	       line[0] != '\0') {
		const struct store_reap_owner request = { store_text(line) };
		struct ask ask;
		int error;

		chaos_line("reap %s", line);
		chaos_flush();
		while ((error = ask_begin(&ask, muster)) == 0) {
			store_reap_owner(muster->store, &request, ask_on_answer,
					 &ask);
			error = ask_end(&ask);
			if (error == 0 || error == -ECANCELED ||
			    muster_sleep(muster, RETRY_MS) < 0)
				break;
		}
		if (error < 0)
			return;
		chaos_line("reaped %s %" PRIu64, line,
			   ask.answer->number.value);
		chaos_flush();
		muster_clear_answers(muster);
	}
}

/* ---- look ---- */

static int count_open(struct muster *muster, uint64_t *open, bool is_last)
{
	const struct store_counts request = { 0 };
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_counts(muster->store, &request, ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	*open = ask.answer->counts.queued + ask.answer->counts.delayed +
		ask.answer->counts.active;
	if (is_last)
		chaos_line("counts %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
			   " %" PRIu64 " %" PRIu64,
			   ask.answer->counts.queued,
			   ask.answer->counts.delayed,
			   ask.answer->counts.active, ask.answer->counts.dead,
			   ask.answer->counts.done, ask.answer->counts.orphans);
	return 0;
}

/* Nobody tells when a queue has run empty, so it is looked at now and then. */
static bool await_drained(struct muster *muster, const struct chaos *chaos)
{
	uint64_t until_us = chaos_now_us() + chaos->deadline_ms * 1000ULL;
	uint64_t open = 1;

	while (chaos_now_us() < until_us) {
		if (count_open(muster, &open, false) == 0 && open == 0)
			return true;
		muster_clear_answers(muster);
		if (muster_sleep(muster, LOOK_MS) < 0)
			break;
	}
	return false;
}

static const struct {
	enum store_task_state state;
	const char *name;
} states[] = {
	{ STORE_TASK_QUEUED, "queued" }, { STORE_TASK_DELAYED, "delayed" },
	{ STORE_TASK_ACTIVE, "active" }, { STORE_TASK_DEAD, "dead" },
	{ STORE_TASK_DONE, "done" },
};

static int tell_page(struct muster *muster, size_t which,
		     struct store_list *request, size_t *count)
{
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_list(muster->store, request, ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	*count = ask.answer->list.count;
	for (size_t i = 0; i < *count; i++) {
		const struct store_task_info *task = &ask.answer->list.tasks[i];

		chaos_line("state %.*s %s %ju %u", (int)task->id.length,
			   task->id.data, states[which].name,
			   (uintmax_t)task->token, task->attempt);
	}
	chaos_flush();
	return 0;
}

static bool tell_state(struct muster *muster, size_t which,
		       struct store_bytes queue)
{
	struct store_list request = { .state = states[which].state,
				      .queue = queue,
				      .limit = PAGE };
	size_t count = 0;

	do {
		if (tell_page(muster, which, &request, &count) < 0)
			return false;
		request.offset += count;
	} while (count > 0);
	return true;
}

static bool tell_queued(struct muster *muster)
{
	const struct store_counts request = { 0 };
	struct store_bytes *names;
	struct ask ask;

	if (ask_begin(&ask, muster) < 0)
		return false;
	store_counts(muster->store, &request, ask_on_answer, &ask);
	if (ask_end(&ask) < 0)
		return false;
	size_t count = ask.answer->counts.queue_count;
	bool is_whole = true;

	names = calloc(count + 1, sizeof(*names));
	MUST(names != NULL);
	for (size_t i = 0; i < count; i++) {
		struct store_bytes name = ask.answer->counts.queues[i].name;

		names[i] = store_text(muster_text(muster, "%.*s",
						  (int)name.length, name.data));
	}
	for (size_t i = 0; i < count && is_whole; i++)
		is_whole = tell_state(muster, 0, names[i]);
	free(names);
	return is_whole;
}

static const char *const difference_names[] = {
#define NAME(NAME, name) [STORE_DIFFERENCE_##NAME] = #name,
	STORE_DIFFERENCES(NAME)
#undef NAME
};

/* One piece; the cursor is empty after the last. */
static int audit(struct muster *muster, struct cursor *cursor, uint64_t *found)
{
	const struct store_audit request = {
		.cursor = store_bytes(cursor->bytes, cursor->length),
	};
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_audit(muster->store, &request, ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	for (size_t i = 0; i < STORE_DIFFERENCE_KINDS; i++)
		found[i] += ask.answer->audit.found[i];
	keep_cursor(cursor, ask.answer->audit.cursor);
	return 0;
}

/* What of the store's own books does not agree. */
static bool tell_audit(struct muster *muster)
{
	uint64_t found[STORE_DIFFERENCE_KINDS] = { 0 };
	struct cursor cursor = { .length = 0 };

	do {
		if (audit(muster, &cursor, found) < 0)
			return false;
		muster_clear_answers(muster);
	} while (cursor.length > 0);
	for (size_t i = 0; i < STORE_DIFFERENCE_KINDS; i++)
		chaos_line("audit %s %" PRIu64, difference_names[i], found[i]);
	return true;
}

void look_role(struct muster *muster, void *arg)
{
	struct chaos *chaos = arg;
	bool is_drained = await_drained(muster, chaos);
	uint64_t open;

	if (!tell_audit(muster))
		chaos_line("error - 0 %s", muster_problem_word(muster));
	if (!tell_queued(muster))
		chaos_line("error - 0 %s", muster_problem_word(muster));
	for (size_t i = 1; i < sizeof(states) / sizeof(states[0]); i++)
		if (!tell_state(muster, i, store_text("")))
			chaos_line("error - 0 %s", muster_problem_word(muster));
	if (count_open(muster, &open, true) < 0)
		chaos_line("error - 0 %s", muster_problem_word(muster));
	chaos_line("looked %d", is_drained);
	chaos_flush();
	chaos->exit_code = is_drained ? 0 : 3;
}

/* ---- watch ---- */

static const char *const event_names[] = {
#define NAME(NAME, name) [STORE_EVENT_##NAME] = #name,
	STORE_EVENT_LIST(NAME)
#undef NAME
};

static int tell_events(struct muster *muster, uint64_t *after)
{
	const struct store_events request = { .after = *after };
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_events(muster->store, &request, ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	for (size_t i = 0; i < ask.answer->events.count; i++) {
		const struct store_event *event = &ask.answer->events.list[i];

		*after = event->sequence;
		if (event->kind >= STORE_EVENT_KINDS)
			continue;
		chaos_line("event %.*s %s %.*s", (int)event->id.length,
			   event->id.data, event_names[event->kind],
			   (int)event->detail.length, event->detail.data);
	}
	chaos_flush();
	return 0;
}

/* Writes down what the store tells, before it drops the oldest of it. */
void watch_role(struct muster *muster, void *arg)
{
	const struct chaos *chaos = arg;
	uint64_t after = 0;

	while (!chaos->is_stopping) {
		uint64_t asked_us = chaos_now_us();

		DISCARD(tell_events(muster, &after)); /* it is asked again */
		if (chaos_now_us() - asked_us > SLOW_US)
			chaos_line("slow %" PRIu64, asked_us);
		muster_clear_answers(muster);
		if (muster_sleep(muster, LOOK_MS) < 0)
			return;
	}
	DISCARD(tell_events(muster, &after));
}

/* ---- effects ---- */

static int tell_effect_page(struct muster *muster, struct cursor *cursor,
			    const char ***keys, size_t *count)
{
	struct store_cache_keys request = {
		.prefix = store_text("effects:"),
		.cursor = store_bytes(cursor->bytes, cursor->length),
		.limit = PAGE,
	};
	struct ask ask;
	int error = ask_begin(&ask, muster);

	if (error < 0)
		return error;
	store_cache_keys(muster->store, &request, ask_on_answer, &ask);
	error = ask_end(&ask);
	if (error < 0)
		return error;
	*count = ask.answer->keys.count;
	*keys = calloc(*count + 1, sizeof(**keys));
	MUST(*keys != NULL);
	for (size_t i = 0; i < *count; i++)
		(*keys)[i] = muster_text(muster, "%.*s",
					 (int)ask.answer->keys.keys[i].length,
					 ask.answer->keys.keys[i].data);
	keep_cursor(cursor, ask.answer->keys.cursor);
	return 0;
}

struct readers {
	const char **keys;
	size_t count;
	size_t next;
	size_t running;
	int error;
};

static void read_effects(struct muster *muster, void *arg)
{
	struct readers *readers = arg;

	while (readers->next < readers->count && readers->error >= 0) {
		const char *key = readers->keys[readers->next++];
		int64_t value = 0;
		int error = muster_cache_add(muster, key, 0, 0, &value);

		if (error < 0)
			readers->error = error;
		chaos_line("effect %s %" PRId64, key + strlen("effects:"),
			   value);
	}
	readers->running--;
}

/* Many at once, so that a million does not take a million round trips. */
static int read_page(struct muster *muster, const char **keys, size_t count)
{
	struct readers readers = { .keys = keys, .count = count };

	for (size_t i = 0; i < READERS; i++) {
		readers.running++; /* it may end within the spawn */
		MUST(muster_spawn(muster, "reader", read_effects, &readers) ==
		     0);
	}
	while (readers.running > 0)
		if (muster_sleep(muster, 1) < 0)
			MUST(readers.running == 0);
	return readers.error;
}

/* The counters that completions carried, at the end. */
void effects_role(struct muster *muster, void *arg)
{
	struct chaos *chaos = arg;
	struct cursor cursor = { .length = 0 };
	int error = 0;

	do {
		const char **keys = NULL;
		size_t count = 0;

		error = tell_effect_page(muster, &cursor, &keys, &count);
		if (error >= 0)
			error = read_page(muster, keys, count);
		free(keys);
		chaos_flush();
		muster_clear_answers(muster);
	} while (error >= 0 && cursor.length > 0);
	if (error < 0) {
		chaos_line("error - 0 %s", muster_problem_word(muster));
		chaos_flush();
		chaos->exit_code = 3;
	}
}
