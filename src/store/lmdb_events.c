/* What is out of the ordinary, told in the transaction in which it happens. */
#include "store/lmdb_tasks_internal.h"

#define EVENTS_MAX 10000
#define LIST_MAX   1000
#define DETAIL_MAX 200

static const struct store_bytes nothing = { "", 0 };

struct event_head {
	uint64_t time_ms;
	uint8_t kind;
	uint8_t id_length;
	uint8_t owner_length;
	uint8_t detail_length;
	uint8_t unused[4];
};

static struct lmdb_key event_key(uint64_t number)
{
	struct lmdb_key key;

	lmdb_key_start(&key);
	lmdb_key_number(&key, number, 8);
	return key;
}

void lmdb_tell(struct lmdb_batch *batch, enum store_event_kind kind,
	       struct store_bytes id, struct store_bytes owner,
	       struct store_bytes detail)
{
	if (detail.length > DETAIL_MAX)
		detail.length = DETAIL_MAX;
	const struct event_head head = {
		.time_ms = batch->real_ms,
		.kind = (uint8_t)kind,
		.id_length = (uint8_t)id.length,
		.owner_length = (uint8_t)owner.length,
		.detail_length = (uint8_t)detail.length,
	};
	struct store_bytes parts[] = {
		arena_copy(&batch->arena, id.data, id.length),
		arena_copy(&batch->arena, owner.data, owner.length),
		arena_copy(&batch->arena, detail.data, detail.length)
	};
	struct lmdb_key key = event_key(++batch->tasks.events);
	char *room = lmdb_reserve(batch, TABLE_EVENT, lmdb_key_all(&key),
				  sizeof(head) + id.length + owner.length +
					  detail.length);

	if (room == NULL)
		return;
	room = (char *)memcpy(room, &head, sizeof(head)) + sizeof(head);
	for (size_t i = 0; i < 3; i++) {
		if (parts[i].length > 0)
			memcpy(room, parts[i].data, parts[i].length);
		room += parts[i].length;
	}
	if (batch->tasks.events <= EVENTS_MAX)
		return;
	key = event_key(batch->tasks.events - EVENTS_MAX);
	lmdb_delete(batch, TABLE_EVENT, lmdb_key_all(&key));
}

void lmdb_task_tell(struct lmdb_batch *batch, enum store_event_kind kind,
		    const struct task *task, struct store_bytes detail)
{
	lmdb_tell(batch, kind, task->id, task->owner, detail);
}

void lmdb_tell_orphan(struct lmdb_batch *batch, struct store_bytes id)
{
	batch->tasks.orphans++;
	lmdb_tell(batch, STORE_EVENT_ORPHAN, id, nothing, nothing);
}

static bool read_event(struct store_call *call, struct store_bytes key,
		       struct store_bytes value, struct store_event *event)
{
	struct event_head head;

	if (key.length != 8 || value.length < sizeof(head))
		return false;
	memcpy(&head, value.data, sizeof(head));
	const char *at = value.data + sizeof(head);

	if (value.length != sizeof(head) + head.id_length + head.owner_length +
				    head.detail_length)
		return false;
	event->sequence = lmdb_number(key, 0, 8);
	event->time_ms = head.time_ms;
	event->kind = (enum store_event_kind)head.kind;
	event->id = arena_copy(&call->arena, at, head.id_length);
	at += head.id_length;
	event->owner = arena_copy(&call->arena, at, head.owner_length);
	at += head.owner_length;
	event->detail = arena_copy(&call->arena, at, head.detail_length);
	return true;
}

void lmdb_events(struct lmdb_batch *batch, struct store_call *call)
{
	const struct store_events *request = call->request;
	size_t limit = request->limit == 0 || request->limit > LIST_MAX
			       ? LIST_MAX
			       : request->limit;
	struct store_event *list =
		arena_take_zeroed(&call->arena, limit, sizeof(*list));
	struct lmdb_key from = event_key(request->after + 1);
	struct store_bytes key;
	struct store_bytes value;
	size_t count = 0;

	call->answer.result = STORE_DONE;
	call->answer.events.list = list;
	call->answer.events.last = batch->tasks.events;
	if (request->after >= batch->tasks.events)
		return;
	bool has_more = lmdb_seek(batch, TABLE_EVENT, lmdb_key_all(&from), &key,
				  &value);

	for (; has_more && count < limit;
	     has_more = lmdb_next(batch, TABLE_EVENT, &key, &value))
		count += read_event(call, key, value, &list[count]);
	call->answer.events.count = count;
}
