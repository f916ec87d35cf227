#include "store/store_request.h"

#include <errno.h>

#include "base/must.h"

#define TYPE_MAX  127
#define ERROR_MAX 4096
#define SPEC_MAX  4096
#define BYTES_MAX 8
#define ALIGNMENT ((size_t)16)

enum kind {
	NAME,          /* 1 to STORE_NAME_MAX bytes */
	OPTIONAL_NAME, /* or empty */
	OWNER,         /* of a room's members: a name that JSON takes as it is,
			* with room for "web:" before one */
	QUEUE,
	UNIQUE,
	ENVELOPE,
	RESULT,
	TEXT, /* for people: any bytes, up to ERROR_MAX */
	KEY,
	OPTIONAL_KEY,
	VALUE,
	TYPE,
	ANY,
};

struct field {
	const char *name;
	enum kind kind;
	size_t offset;
};

struct shape;

struct array {
	const char *name;
	size_t offset; /* of the pointer */
	size_t count_offset;
	const struct shape *element;
	bool is_one; /* or none: there is no count */
};

struct shape {
	size_t size;
	struct field fields[BYTES_MAX];
	struct array arrays[2];
};

#define FIELD(type, member, kind)                                              \
	{                                                                      \
#member, kind, offsetof(struct store_##type, member)           \
	}
#define ARRAY(type, member, count, element)                                    \
	{                                                                      \
#member, offsetof(struct store_##type, member),                \
			offsetof(struct store_##type, count), element, false   \
	}

static const struct shape name_shape = {
	.size = sizeof(struct store_bytes),
	.fields = { { "id", NAME, 0 } },
};

static const struct shape queue_shape = {
	.size = sizeof(struct store_bytes),
	.fields = { { "queue", QUEUE, 0 } },
};

static const struct shape task_shape = {
	.size = sizeof(struct store_task),
	.fields = { FIELD(task, id, NAME), FIELD(task, queue, QUEUE),
		    FIELD(task, envelope, ENVELOPE),
		    FIELD(task, unique, UNIQUE) },
};

static const struct shape lease_shape = {
	.size = sizeof(struct store_lease),
	.fields = { FIELD(lease, id, NAME) },
};

/* What does not belong to its kind is empty: effects are checked by hand. */
static const struct shape effect_shape = {
	.size = sizeof(struct store_effect),
	.fields = { FIELD(effect, task.id, ANY),
		    FIELD(effect, task.queue, QUEUE),
		    FIELD(effect, task.envelope, ENVELOPE),
		    FIELD(effect, task.unique, UNIQUE),
		    FIELD(effect, key, OPTIONAL_KEY),
		    FIELD(effect, value, VALUE), FIELD(effect, type, TYPE) },
};

static const struct shape completion_shape = {
	.size = sizeof(struct store_completion),
	.fields = { FIELD(completion, id, NAME),
		    FIELD(completion, result, RESULT) },
	.arrays = { ARRAY(completion, effects, effect_count, &effect_shape) },
};

static const struct shape failure_shape = {
	.size = sizeof(struct store_failure),
	.fields = { FIELD(failure, id, NAME), FIELD(failure, error, TEXT) },
};

static const struct shape stat_shape = {
	.size = sizeof(struct store_stat),
	.fields = { FIELD(stat, name, NAME) },
};

static const struct shape value_shape = {
	.size = sizeof(struct store_bytes),
	.fields = { { "value", VALUE, 0 } },
};

#define SIZE(type) .size = sizeof(struct store_##type)

static const struct shape shapes[STORE_READY_CALL] = {
	[STORE_ENQUEUE_CALL] = { SIZE(enqueue),
				 .arrays = { ARRAY(enqueue, tasks, count,
						   &task_shape) } },
	[STORE_CLAIM_CALL] = { SIZE(claim),
			       .fields = { FIELD(claim, owner, NAME) },
			       .arrays = { ARRAY(claim, queues, queue_count,
						 &queue_shape) } },
	[STORE_HEARTBEAT_CALL] = { SIZE(heartbeat),
				   .arrays = { ARRAY(heartbeat, leases, count,
						     &lease_shape) } },
	[STORE_COMPLETE_CALL] = { SIZE(complete),
				  .arrays = { ARRAY(complete, items, count,
						    &completion_shape) } },
	[STORE_FAIL_CALL] = { SIZE(fail), .arrays = { ARRAY(fail, items, count,
							    &failure_shape) } },
	[STORE_RELEASE_CALL] = { SIZE(release),
				 .arrays = { ARRAY(release, leases, count,
						   &lease_shape) } },
	[STORE_CANCEL_CALL] = { SIZE(cancel),
				.arrays = { ARRAY(cancel, ids, count,
						  &name_shape) } },
	[STORE_REAP_OWNER_CALL] = { SIZE(reap_owner),
				    .fields = { FIELD(reap_owner, owner,
						      NAME) } },
	[STORE_RETRY_DEAD_CALL] = { SIZE(retry_dead),
				    .arrays = { ARRAY(retry_dead, ids, count,
						      &name_shape) } },
	[STORE_REMOVE_CALL] = { SIZE(remove),
				.arrays = { ARRAY(remove, ids, count,
						  &name_shape) } },
	[STORE_PROGRESS_CALL] = { SIZE(progress),
				  .fields = { FIELD(progress, id, NAME),
					      FIELD(progress, progress,
						    TEXT) } },
	[STORE_ADOPT_QUEUE_CALL] = { SIZE(adopt_queue),
				     .fields = { FIELD(adopt_queue, queue,
						       QUEUE) } },
	[STORE_AUDIT_CALL] = { SIZE(audit),
			       .fields = { FIELD(audit, cursor, TEXT) } },
	[STORE_EVENTS_CALL] = { SIZE(events) },
	[STORE_SHOW_CALL] = { SIZE(show), .fields = { FIELD(show, id, NAME) } },
	[STORE_LIST_CALL] = { SIZE(list),
			      .fields = { FIELD(list, queue, QUEUE),
					  FIELD(list, owner, OPTIONAL_NAME) } },
	[STORE_COUNTS_CALL] = { SIZE(counts) },
	[STORE_PAUSE_CALL] = { SIZE(pause),
			       .fields = { FIELD(pause, queue, QUEUE) } },
	[STORE_LIMITS_CALL] = { SIZE(limits),
				.fields = { FIELD(limits, queue, QUEUE) } },
	[STORE_CRON_FIRE_CALL] = { SIZE(cron_fire),
				   .fields = { FIELD(cron_fire, name, NAME),
					       FIELD(cron_fire, spec, TEXT) },
				   .arrays = { { "task",
						 offsetof(
							 struct store_cron_fire,
							 task),
						 0, &task_shape, true } } },
	[STORE_WAIT_CALL] = { SIZE(wait),
			      .arrays = { ARRAY(wait, queues, queue_count,
						&queue_shape) } },
	[STORE_PEER_PING_CALL] = { SIZE(peer_ping),
				   .fields = { FIELD(peer_ping, id, NAME),
					       FIELD(peer_ping, nonce, NAME),
					       FIELD(peer_ping, record,
						     TEXT) } },
	[STORE_PEER_LIST_CALL] = { SIZE(peer_list) },
	[STORE_PEER_DOWN_CALL] = { SIZE(peer_down),
				   .fields = { FIELD(peer_down, id, NAME),
					       FIELD(peer_down, nonce,
						     NAME) } },
	[STORE_PEER_LEAVE_CALL] = { SIZE(peer_leave),
				    .fields = { FIELD(peer_leave, id, NAME),
						FIELD(peer_leave, nonce,
						      NAME) } },
	[STORE_NAME_TAKE_CALL] = { SIZE(name_take),
				   .fields = { FIELD(name_take, prefix, NAME),
					       FIELD(name_take, nonce, NAME),
					       FIELD(name_take, host, NAME) } },
	[STORE_NAME_FREE_CALL] = { SIZE(name_free),
				   .fields = { FIELD(name_free, name, NAME),
					       FIELD(name_free, nonce,
						     NAME) } },
	[STORE_STATS_FLUSH_CALL] = { SIZE(stats_flush),
				     .fields = { FIELD(stats_flush, source,
						       OPTIONAL_NAME) },
				     .arrays = { ARRAY(stats_flush, stats,
						       count, &stat_shape) } },
	[STORE_STATS_READ_CALL] = { SIZE(stats_read),
				    .fields = { FIELD(stats_read, prefix,
						      OPTIONAL_NAME) } },
	[STORE_ROOM_CREATE_CALL] = { SIZE(room_create),
				     .fields = { FIELD(room_create, room,
						       NAME) } },
	[STORE_ROOM_DESTROY_CALL] = { SIZE(room_destroy),
				      .fields = { FIELD(room_destroy, room,
							NAME),
						  FIELD(room_destroy, message,
							ENVELOPE) } },
	[STORE_ROOM_LIST_CALL] = { SIZE(room_list),
				   .fields = { FIELD(room_list, room,
						     OPTIONAL_NAME) } },
	[STORE_ROOM_JOIN_CALL] = { SIZE(room_join),
				   .fields = { FIELD(room_join, room, NAME),
					       FIELD(room_join, member, NAME),
					       FIELD(room_join, owner, OWNER),
					       FIELD(room_join, record,
						     TEXT) } },
	[STORE_ROOM_LEAVE_CALL] = { SIZE(room_leave),
				    .fields = { FIELD(room_leave, room, NAME),
						FIELD(room_leave, member, NAME),
						FIELD(room_leave, owner,
						      OWNER) } },
	[STORE_ROOM_MEMBERS_CALL] = { SIZE(room_members),
				      .fields = { FIELD(room_members, room,
							NAME) } },
	[STORE_ROOM_SAY_CALL] = { SIZE(room_say),
				  .fields = { FIELD(room_say, room, NAME),
					      FIELD(room_say, message,
						    ENVELOPE),
					      FIELD(room_say, but,
						    OPTIONAL_NAME),
					      FIELD(room_say, speaker,
						    OPTIONAL_NAME) } },
	[STORE_ROOM_REAP_CALL] = { SIZE(room_reap),
				   .fields = { FIELD(room_reap, owner,
						     OWNER) } },
	[STORE_WEB_PUSH_CALL] = { SIZE(web_push),
				  .fields = { FIELD(web_push, client, NAME),
					      FIELD(web_push, message,
						    ENVELOPE) } },
	[STORE_WEB_VISIT_CALL] = { SIZE(web_visit),
				   .fields = { FIELD(web_visit, client,
						     NAME) } },
	[STORE_CACHE_SAVE_CALL] = { SIZE(cache_save),
				    .fields = { FIELD(cache_save, key, KEY),
						FIELD(cache_save, value, VALUE),
						FIELD(cache_save, type, TYPE),
						FIELD(cache_save, owner,
						      OPTIONAL_NAME) } },
	[STORE_CACHE_LOAD_CALL] = { SIZE(cache_load),
				    .fields = { FIELD(cache_load, key, KEY) } },
	[STORE_CACHE_DESTROY_CALL] = { SIZE(cache_destroy),
				       .fields = { FIELD(cache_destroy, key,
							 KEY),
						   FIELD(cache_destroy, owner,
							 OPTIONAL_NAME) } },
	[STORE_CACHE_KEYS_CALL] = { SIZE(cache_keys),
				    .fields = { FIELD(cache_keys, prefix,
						      OPTIONAL_KEY),
						FIELD(cache_keys, cursor,
						      TYPE) } },
	[STORE_CACHE_SIZE_CALL] = { SIZE(cache_size) },
	[STORE_CACHE_CLEAR_CALL] = { SIZE(cache_clear),
				     .fields = { FIELD(cache_clear, prefix,
						       OPTIONAL_KEY) } },
	[STORE_CACHE_PUSH_CALL] = { SIZE(cache_push),
				    .fields = { FIELD(cache_push, key, KEY),
						FIELD(cache_push, value,
						      VALUE) } },
	[STORE_CACHE_POP_CALL] = { SIZE(cache_pop),
				   .fields = { FIELD(cache_pop, key, KEY) } },
	[STORE_CACHE_LENGTH_CALL] = { SIZE(cache_length),
				      .fields = { FIELD(cache_length, key,
							KEY) } },
	[STORE_CACHE_ADD_CALL] = { SIZE(cache_add),
				   .fields = { FIELD(cache_add, key, KEY) } },
	[STORE_CACHE_LOCK_CALL] = { SIZE(cache_lock),
				    .fields = { FIELD(cache_lock, key, KEY),
						FIELD(cache_lock, owner,
						      NAME) } },
	[STORE_CACHE_UNLOCK_CALL] = { SIZE(cache_unlock),
				      .fields = { FIELD(cache_unlock, key, KEY),
						  FIELD(cache_unlock, owner,
							NAME) } },
	[STORE_CACHE_EXPORT_CALL] = { SIZE(cache_export),
				      .fields = { FIELD(cache_export, cursor,
							TYPE) } },
	[STORE_CACHE_IMPORT_CALL] = { SIZE(cache_import),
				      .fields = { FIELD(cache_import, entry.key,
							KEY),
						  FIELD(cache_import,
							entry.value, VALUE),
						  FIELD(cache_import,
							entry.type, TYPE) },
				      .arrays = { ARRAY(cache_import,
							entry.values,
							entry.value_count,
							&value_shape) } },
	[STORE_CACHE_EXPIRE_CALL] = { SIZE(cache_expire),
				      .fields = { FIELD(cache_expire, key,
							KEY) } },
	[STORE_LOG_READ_CALL] = { SIZE(log_read),
				  .fields = { FIELD(log_read, channel, TEXT),
					      FIELD(log_read, name, TEXT) } },
};

static const struct store_bytes *bytes_of(const void *request,
					  const struct field *field)
{
	return (const void *)((const char *)request + field->offset);
}

static const void *elements_of(const void *request, const struct array *array,
			       size_t *count)
{
	const char *at = request;
	const void *elements;

	memcpy(&elements, at + array->offset, sizeof(elements));
	if (array->is_one)
		*count = elements != NULL;
	else
		memcpy(count, at + array->count_offset, sizeof(*count));
	return elements;
}

#define EACH_FIELD(shape, field)                                               \
	for (const struct field *field = (shape)->fields;                      \
	     field < (shape)->fields + BYTES_MAX && field->name != NULL;       \
	     field++)
#define EACH_ARRAY(shape, array)                                               \
	for (const struct array *array = (shape)->arrays;                      \
	     array < (shape)->arrays + 2 && array->name != NULL; array++)

/* ---- checking ---- */

static bool is_plain(struct store_bytes bytes)
{
	for (size_t i = 0; i < bytes.length; i++) {
		unsigned char byte = (unsigned char)bytes.data[i];

		if (byte < ' ' || byte == 0x7f || byte == '|')
			return false;
	}
	return true;
}

static bool is_owner(struct store_bytes name)
{
	return is_plain(name) && memchr(name.data, '"', name.length) == NULL &&
	       memchr(name.data, '\\', name.length) == NULL;
}

static bool is_queue(struct store_bytes name)
{
	static const char *const taken[] = { "global", "delayed", "data",
					     "processing" };

	if (!is_plain(name) || (name.length > 0 && name.data[0] == '_'))
		return false;
	for (size_t i = 0; i < sizeof(taken) / sizeof(taken[0]); i++)
		if (store_bytes_equal(name, store_text(taken[i])))
			return false;
	return memchr(name.length == 0 ? "" : name.data, ':', name.length) ==
	       NULL;
}

static size_t longest(const struct store *store, enum kind kind)
{
	switch (kind) {
	case NAME:
	case OPTIONAL_NAME:
	case QUEUE:
	case ANY:
		return STORE_NAME_MAX;
	case OWNER:
		return STORE_NAME_MAX + sizeof("web:") - 1;
	case UNIQUE:
		return STORE_UNIQUE_MAX;
	case ENVELOPE:
		return store->options.envelope_bytes_max;
	case RESULT:
		return store->options.result_bytes_max;
	case TEXT:
		return ERROR_MAX;
	case KEY:
	case OPTIONAL_KEY:
		return store->options.key_bytes_max;
	case VALUE:
		return store->options.value_bytes_max;
	case TYPE:
		return TYPE_MAX;
	}
	MUST(false);
	return 0;
}

static int check_field(const struct store *store, const struct field *field,
		       struct store_bytes bytes, struct problem *problem)
{
	size_t most = longest(store, field->kind);

	if (bytes.length > most)
		return problem_set(problem, -EMSGSIZE, "STORE_TOO_LONG",
				   "the %s has %zu bytes, but %zu are the most "
				   "(raise the limit, or store a reference)",
				   field->name, bytes.length, most);
	if (bytes.length == 0 &&
	    (field->kind == NAME || field->kind == OWNER || field->kind == KEY))
		return problem_set(problem, -EINVAL, "STORE_NAME_INVALID",
				   "the %s is empty", field->name);
	if ((field->kind == NAME || field->kind == OPTIONAL_NAME) &&
	    !is_plain(bytes))
		return problem_set(problem, -EINVAL, "STORE_NAME_INVALID",
				   "the %s has control bytes or | in it",
				   field->name);
	if (field->kind == OWNER && !is_owner(bytes))
		return problem_set(problem, -EINVAL, "STORE_NAME_INVALID",
				   "the %s has control bytes, |, \" or \\ in "
				   "it",
				   field->name);
	if (field->kind == QUEUE && !is_queue(bytes))
		return problem_set(problem, -EINVAL, "STORE_NAME_INVALID",
				   "no queue can be called that: the name is "
				   "taken, begins with _, or has control "
				   "bytes, | or : in it (leave it empty for "
				   "the global queue)");
	return 0;
}

static int check_shape(const struct store *store, const struct shape *shape,
		       const void *request, struct problem *problem)
{
	EACH_FIELD(shape, field)
	{
		int error = check_field(store, field, *bytes_of(request, field),
					problem);

		if (error < 0)
			return error;
	}
	EACH_ARRAY(shape, array)
	{
		size_t count;
		const char *at = elements_of(request, array, &count);

		if (count > STORE_BATCH_MAX)
			return problem_set(problem, -EMSGSIZE, "STORE_TOO_LONG",
					   "%zu %s in one call, but %d are the "
					   "most (split them)",
					   count, array->name, STORE_BATCH_MAX);
		for (size_t i = 0; i < count; i++) {
			int error = check_shape(store, array->element,
						at + i * array->element->size,
						problem);

			if (error < 0)
				return error;
		}
	}
	return 0;
}

static int refuse_number(struct problem *problem, const char *what)
{
	return problem_set(problem, -EINVAL, "STORE_NUMBER_INVALID", "%s",
			   what);
}

static int check_task(const struct store_task *task, struct problem *problem)
{
	if (task->priority >= STORE_PRIORITIES)
		return refuse_number(problem,
				     "a task's priority is not 0 to 3");
	if (task->max_attempts > STORE_ATTEMPTS_MAX)
		return refuse_number(problem,
				     "a task has more than 60000 attempts");
	return 0;
}

static int check_queues(size_t count, struct problem *problem)
{
	if (count == 0 || count > STORE_QUEUES_MAX)
		return refuse_number(problem,
				     "not between 1 and 8 queues are named");
	return 0;
}

static int check_effects(const struct store_complete *request,
			 struct problem *problem)
{
	for (size_t i = 0; i < request->count; i++) {
		const struct store_completion *item = &request->items[i];

		for (size_t j = 0; j < item->effect_count; j++) {
			const struct store_effect *effect = &item->effects[j];
			bool is_task = effect->kind == STORE_EFFECT_ENQUEUE;

			if (is_task ? effect->task.id.length == 0 ||
					      !is_plain(effect->task.id)
				    : effect->key.length == 0)
				return problem_set(problem, -EINVAL,
						   "STORE_NAME_INVALID",
						   "an effect's id or key is "
						   "empty, or has control "
						   "bytes or | in it");
			int error = is_task ? check_task(&effect->task, problem)
					    : 0;

			if (error < 0)
				return error;
		}
	}
	return 0;
}

/* What the shapes cannot say. */
static int check_numbers(enum store_operation operation, const void *request,
			 struct problem *problem)
{
	if (operation == STORE_ENQUEUE_CALL) {
		const struct store_enqueue *enqueue = request;
		int error = 0;

		for (size_t i = 0; i < enqueue->count && error == 0; i++)
			error = check_task(&enqueue->tasks[i], problem);
		return error;
	}
	if (operation == STORE_CLAIM_CALL) {
		const struct store_claim *claim = request;

		if (claim->want == 0 || claim->want > STORE_BATCH_MAX ||
		    claim->lease_ms == 0)
			return refuse_number(problem,
					     "a claim wants 1 to 1024 tasks, "
					     "and a lease of 1 ms or more");
		return check_queues(claim->queue_count, problem);
	}
	if (operation == STORE_HEARTBEAT_CALL) {
		const struct store_heartbeat *heartbeat = request;

		if (heartbeat->lease_ms == 0)
			return refuse_number(problem, "a lease lasts 0 ms");
	}
	if (operation == STORE_ADOPT_QUEUE_CALL &&
	    ((const struct store_adopt_queue *)request)->queue.length == 0)
		return problem_set(problem, -EINVAL, "STORE_NAME_INVALID",
				   "the global queue is everybody's: it cannot "
				   "be adopted");
	if (operation == STORE_COMPLETE_CALL)
		return check_effects(request, problem);
	if (operation == STORE_WAIT_CALL)
		return check_queues(
			((const struct store_wait *)request)->queue_count,
			problem);
	if (operation == STORE_CRON_FIRE_CALL) {
		const struct store_cron_fire *fire = request;

		return fire->task == NULL ? 0 : check_task(fire->task, problem);
	}
	if (operation == STORE_CACHE_LOCK_CALL &&
	    ((const struct store_cache_lock *)request)->ttl_ms == 0)
		return refuse_number(problem, "a lock needs a time it lasts");
	return 0;
}

int store_request_check(const struct store *store,
			enum store_operation operation, const void *request,
			struct problem *problem)
{
	int error = check_shape(store, &shapes[operation], request, problem);

	if (error == 0)
		error = check_numbers(operation, request, problem);
	return error;
}

/* ---- copying ---- */

static size_t aligned(size_t size)
{
	return (size + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

/* Without the struct itself. */
static size_t size_beyond(const struct shape *shape, const void *request)
{
	size_t size = 0;

	EACH_FIELD(shape, field)
	size += aligned(bytes_of(request, field)->length);
	EACH_ARRAY(shape, array)
	{
		size_t count;
		const char *at = elements_of(request, array, &count);

		size += aligned(count * array->element->size);
		for (size_t i = 0; i < count; i++)
			size += size_beyond(array->element,
					    at + i * array->element->size);
	}
	return size;
}

/* `copy` is one already, but points to what the caller has. */
static void deepen(struct arena *arena, const struct shape *shape, char *copy)
{
	EACH_FIELD(shape, field)
	{
		struct store_bytes bytes = *bytes_of(copy, field);

		bytes = arena_copy(arena, bytes.data, bytes.length);
		memcpy(copy + field->offset, &bytes, sizeof(bytes));
	}
	EACH_ARRAY(shape, array)
	{
		size_t count;
		size_t size = array->element->size;
		const void *from = elements_of(copy, array, &count);

		if (count == 0)
			continue;
		char *to = arena_take(arena, count * size);

		memcpy(to, from, count * size);
		memcpy(copy + array->offset, &to, sizeof(to));
		for (size_t i = 0; i < count; i++)
			deepen(arena, array->element, to + i * size);
	}
}

size_t store_request_size(enum store_operation operation, const void *request)
{
	const struct shape *shape = &shapes[operation];

	return aligned(shape->size) + size_beyond(shape, request);
}

const void *store_request_copy(struct arena *arena,
			       enum store_operation operation,
			       const void *request)
{
	const struct shape *shape = &shapes[operation];
	char *copy = arena_take(arena, shape->size);

	memcpy(copy, request, shape->size);
	deepen(arena, shape, copy);
	return copy;
}
