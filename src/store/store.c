#include "store/store.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/timer.h"
#include "store/store_internal.h"
#include "store/store_request.h"

#define TIMEOUT_MS   5000
#define MIB          (1024 * 1024)
#define MAP_BYTES    ((uint64_t)64 << 30)
#define DONE_COUNT   100000
#define DONE_MS      ((uint64_t)24 * 3600 * 1000)
#define DEAD_COUNT   10000
#define DEAD_MS      ((uint64_t)90 * 24 * 3600 * 1000)
#define ANSWER_BYTES 256 /* room for a small answer beside the request */

static const struct store_ops *const back_ends[] = {
	[STORE_URL_LMDB] = &lmdb_ops,     [STORE_URL_REDIS] = &redis_ops,
	[STORE_URL_UNIX] = &redis_ops,    [STORE_URL_SENTINEL] = &redis_ops,
	[STORE_URL_CLUSTER] = &redis_ops,
};

/* ---- calls ---- */

/* At the first deadline, which may have passed. */
static void set_timer(struct store *store)
{
	uint64_t now_ms = loop_now_ms(store->loop);
	uint64_t first_ms =
		LIST_ENTRY(store->calls.next, struct store_call, link)
			->deadline_ms;

	timer_start(store->timer, first_ms > now_ms ? first_ms - now_ms : 0, 0);
}

static void await(struct store *store, struct store_call *call)
{
	struct list *link = store->calls.previous;

	if (list_is_empty(&store->calls))
		loop_hold(store->loop);
	/* Most deadlines are equally far away: the place is the last one. */
	while (link != &store->calls &&
	       LIST_ENTRY(link, struct store_call, link)->deadline_ms >
		       call->deadline_ms)
		link = link->previous;
	list_add_last(link->next, &call->link);
	if (!timer_is_started(store->timer) || store->calls.next == &call->link)
		set_timer(store);
}

static void unawait(struct store *store, struct store_call *call)
{
	if (!list_is_linked(&call->link))
		return;
	list_remove(&call->link);
	if (list_is_empty(&store->calls))
		loop_release(store->loop);
}

static struct store_call *call_new(struct store *store,
				   enum store_operation operation, size_t room)
{
	struct store_call *call = mem_alloc(sizeof(*call) + room);

	memset(call, 0, sizeof(*call));
	call->store = store;
	call->operation = operation;
	/* What follows is the arena's first block, which it does not own. */
	call->arena.at = (char *)(call + 1);
	call->arena.left = room;
	return call;
}

struct store_call *store_call_new(struct store *store,
				  enum store_operation operation)
{
	struct store_call *call = call_new(store, operation, ANSWER_BYTES);

	call->is_answered = true;
	return call;
}

static void answer(struct store_call *call)
{
	if (call->is_answered)
		return;
	call->is_answered = true;
	unawait(call->store, call);
	call->on_answer(call->owner, &call->answer);
}

/* Tasks that were claimed for somebody who has left need not lie there until
 * their leases end. */
static void release_claimed(struct store_call *call)
{
	const struct store_claimed *tasks = call->answer.claim.tasks;
	size_t count = call->answer.claim.count;
	struct store_call *release =
		store_call_new(call->store, STORE_RELEASE_CALL);
	struct store_lease *leases =
		arena_take_zeroed(&release->arena, count, sizeof(*leases));
	struct store_release *request =
		arena_take_zeroed(&release->arena, 1, sizeof(*request));

	for (size_t i = 0; i < count; i++) {
		leases[i].id = arena_copy(&release->arena, tasks[i].id.data,
					  tasks[i].id.length);
		leases[i].token = tasks[i].token;
	}
	request->leases = leases;
	request->count = count;
	release->request = request;
	call->store->ops->submit(call->store, release);
}

static void release_lock(struct store_call *call)
{
	const struct store_cache_lock *lock = call->request;
	struct store_call *unlock =
		store_call_new(call->store, STORE_CACHE_UNLOCK_CALL);
	struct store_cache_unlock *request =
		arena_take_zeroed(&unlock->arena, 1, sizeof(*request));

	request->key =
		arena_copy(&unlock->arena, lock->key.data, lock->key.length);
	request->owner = arena_copy(&unlock->arena, lock->owner.data,
				    lock->owner.length);
	request->token = call->answer.lock.token;
	unlock->request = request;
	call->store->ops->submit(call->store, unlock);
}

/* Nobody took what was got for him. */
static void give_back(struct store_call *call)
{
	const struct store_answer *given = &call->answer;

	if (given->error != 0 || call->store->is_closing)
		return;
	if (call->operation == STORE_CLAIM_CALL && given->claim.count > 0)
		release_claimed(call);
	if (call->operation == STORE_CACHE_LOCK_CALL &&
	    given->result == STORE_DONE && given->lock.is_new)
		release_lock(call);
}

void store_call_finish(struct store_call *call)
{
	MUST(!list_is_linked(&call->back_link));
	if (call->is_answered)
		give_back(call);
	answer(call);
	arena_fini(&call->arena);
	free(call);
}

enum store_result *store_call_results(struct store_call *call, size_t count)
{
	enum store_result *results =
		arena_take_zeroed(&call->arena, count, sizeof(*results));

	call->answer.results = results;
	call->answer.result_count = count;
	return results;
}

void store_call_fail_as(struct store_call *call, const struct problem *problem)
{
	call->problem = *problem;
	call->answer = (struct store_answer){ .error = problem->code,
					      .problem = &call->problem };
}

void store_call_fail(struct store_call *call, int code, const char *name,
		     const char *format, ...)
{
	struct problem problem = { .code = code, .name = name };
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(problem.text, sizeof(problem.text), format, arguments);
	va_end(arguments);
	store_call_fail_as(call, &problem);
}

/* The back end may be at work on it: its answer is not touched. */
static void answer_early(struct store_call *call, int code, const char *name,
			 const char *text)
{
	struct problem problem;
	struct store_answer early = { .error = code, .problem = &problem };

	problem_set(&problem, code, name, "%s", text);
	call->is_answered = true;
	unawait(call->store, call);
	store_answer_fn on_answer = call->on_answer;
	void *owner = call->owner;

	call->store->ops->abandon(call->store, call);
	on_answer(owner, &early);
}

static void on_deadline(void *owner)
{
	struct store *store = owner;

	while (!list_is_empty(&store->calls)) {
		struct store_call *call =
			LIST_ENTRY(store->calls.next, struct store_call, link);

		if (call->deadline_ms > loop_now_ms(store->loop)) {
			set_timer(store);
			return;
		}
		answer_early(call, -ETIMEDOUT, "STORE_TIMEOUT",
			     "the store has not answered in time; what was "
			     "asked may have happened (is it reachable, or "
			     "overloaded?)");
	}
}

static void submit(struct store *store, struct store_call *call,
		   uint64_t timeout_ms, store_answer_fn on_answer, void *owner)
{
	call->on_answer = on_answer;
	call->owner = owner;
	call->deadline_ms = loop_now_ms(store->loop) + timeout_ms;
	await(store, call);
	store->ops->submit(store, call);
}

/* A refusal, too, comes from the loop. */
struct refusal {
	struct loop_task task;
	struct store_call *call;
};

static void run_refusal(struct loop_task *task)
{
	struct refusal *refusal = LIST_ENTRY(task, struct refusal, task);
	struct store_call *call = refusal->call;

	store_call_finish(call);
}

static void refuse(struct store *store, struct store_call *call,
		   const struct problem *problem)
{
	struct refusal *refusal =
		arena_take_zeroed(&call->arena, 1, sizeof(*refusal));

	store_call_fail_as(call, problem);
	refusal->task.run = run_refusal;
	refusal->call = call;
	loop_defer(store->loop, &refusal->task);
}

static void ask(struct store *store, enum store_operation operation,
		const void *request, store_answer_fn on_answer, void *owner)
{
	struct problem problem = { 0 };
	uint64_t timeout_ms = store->options.timeout_ms;

	MUST(!store->is_closing);
	if (store_request_check(store, operation, request, &problem) < 0) {
		struct store_call *call =
			call_new(store, operation, ANSWER_BYTES);

		call->on_answer = on_answer;
		call->owner = owner;
		refuse(store, call, &problem);
		return;
	}
	struct store_call *call =
		call_new(store, operation,
			 store_request_size(operation, request) + ANSWER_BYTES);

	call->request = store_request_copy(&call->arena, operation, request);
	if (operation == STORE_WAIT_CALL)
		timeout_ms += ((const struct store_wait *)request)->timeout_ms;
	if (operation == STORE_CACHE_LOCK_CALL)
		timeout_ms +=
			((const struct store_cache_lock *)request)->wait_ms;
	submit(store, call, timeout_ms, on_answer, owner);
}

#define STORE_DEFINE(NAME, name)                                               \
	void store_##name(struct store *store,                                 \
			  const struct store_##name *request,                  \
			  store_answer_fn on_answer, void *owner)              \
	{                                                                      \
		ask(store, STORE_##NAME##_CALL, request, on_answer, owner);    \
	}
STORE_OPERATIONS(STORE_DEFINE)
#undef STORE_DEFINE

void store_ready(struct store *store, store_answer_fn on_answer, void *owner)
{
	MUST(!store->is_closing);
	submit(store, call_new(store, STORE_READY_CALL, ANSWER_BYTES),
	       store->options.timeout_ms, on_answer, owner);
}

enum store_result store_cache_peek(struct store *store,
				   const struct store_cache_load *request,
				   struct store_answer *answer_out)
{
	return store->ops->peek(store, request, answer_out);
}

void store_forget(struct store *store, const void *owner)
{
	LIST_EACH (&store->calls, link) {
		struct store_call *call =
			LIST_ENTRY(link, struct store_call, link);

		if (call->owner != owner)
			continue;
		call->is_answered = true;
		unawait(store, call);
		store->ops->abandon(store, call);
	}
}

const char *store_event_name(enum store_event_kind kind)
{
	static const char *const names[STORE_EVENT_KINDS] = {
#define EVENT_NAME(NAME, name) [STORE_EVENT_##NAME] = #name,
		STORE_EVENT_LIST(EVENT_NAME)
#undef EVENT_NAME
	};

	return kind < STORE_EVENT_KINDS ? names[kind] : "unknown";
}

enum store_event_kind store_event_kind(struct store_bytes name)
{
	int kind = 0;

	while (kind < STORE_EVENT_KINDS &&
	       !store_bytes_equal(name, store_text(store_event_name(
						(enum store_event_kind)kind))))
		kind++;
	return (enum store_event_kind)kind;
}

/* ---- life ---- */

static void set_defaults(struct store_options *options)
{
#define DEFAULT(member, value)                                                 \
	do {                                                                   \
		if (options->member == 0)                                      \
			options->member = (value);                             \
	} while (0)
	DEFAULT(map_bytes, MAP_BYTES);
	DEFAULT(timeout_ms, TIMEOUT_MS);
	DEFAULT(envelope_bytes_max, MIB);
	DEFAULT(result_bytes_max, 64 * 1024);
	DEFAULT(key_bytes_max, 1024);
	DEFAULT(value_bytes_max, MIB);
	DEFAULT(done_count, DONE_COUNT);
	DEFAULT(done_ms, DONE_MS);
	DEFAULT(dead_count, DEAD_COUNT);
	DEFAULT(dead_ms, DEAD_MS);
#undef DEFAULT
}

struct store *store_open(struct loop *loop, const char *url,
			 const struct store_options *options,
			 struct problem *problem)
{
	struct store_url place;

	if (store_url_read(url, &place, problem) < 0)
		return NULL;
	struct store *store = mem_zalloc(sizeof(*store));

	store->loop = loop;
	store->ops = back_ends[place.kind];
	store->options =
		options == NULL ? (struct store_options){ 0 } : *options;
	set_defaults(&store->options);
	store->prefix =
		mem_text(store->options.prefix == NULL ? "muster"
						       : store->options.prefix);
	list_init(&store->calls);
	store->timer = timer_open(loop, on_deadline, store, false);
	int error = store->ops->open(store, &place, problem);

	store_url_fini(&place);
	if (error == 0)
		return store;
	timer_close(store->timer);
	free(store->prefix);
	free(store);
	return NULL;
}

/* Not from within a back end's callback. */
static void run_closing(struct loop_task *task)
{
	struct store *store = LIST_ENTRY(task, struct store, closing);

	store->ops->close(store);
}

void store_close(struct store *store, store_closed_fn on_closed, void *owner)
{
	MUST(!store->is_closing && store->bus == NULL);
	store->is_closing = true;
	store->on_closed = on_closed;
	store->owner = owner;
	loop_hold(store->loop);
	while (!list_is_empty(&store->calls))
		answer_early(
			LIST_ENTRY(store->calls.next, struct store_call, link),
			-ECANCELED, "STORE_CLOSED",
			"the store was closed; what was asked may have "
			"happened");
	store->closing.run = run_closing;
	loop_defer(store->loop, &store->closing);
}

void store_closed(struct store *store)
{
	store_closed_fn on_closed = store->on_closed;
	void *owner = store->owner;

	loop_release(store->loop);
	timer_close(store->timer);
	free(store->prefix);
	free(store);
	on_closed(owner);
}
