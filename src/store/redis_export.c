/* The cache, taken out and put back. */
#include <stdlib.h>

#include "store/redis_internal.h"

#define ENTRIES_MAX 1000
#define SCAN_LEAST  10

static const struct store_bytes nothing = { "", 0 };

/* ---- out: names, then what they hold, on a Cluster one by one ---- */

struct page {
	struct store_bytes *names;
	size_t count;
	size_t next;
	struct store_cache_entry *entries;
	size_t room;
	struct store_bytes cursor;
};

static struct store_bytes keep(struct store_call *call, const redisReply *reply)
{
	struct store_bytes bytes = redis_reply_bytes(reply);

	return arena_copy(&call->arena, bytes.data, bytes.length);
}

static struct store_cache_entry *add(struct store_call *call, struct page *page,
				     struct store_bytes key, uint64_t expires)
{
	size_t count = call->answer.entries.count;

	if (count == page->room) {
		struct store_cache_entry *more;

		page->room = page->room == 0 ? 64 : page->room * 2;
		more = arena_take_zeroed(&call->arena, page->room,
					 sizeof(*more));
		if (count > 0)
			memcpy(more, page->entries, count * sizeof(*more));
		page->entries = more;
	}
	call->answer.entries.list = page->entries;
	call->answer.entries.count++;
	page->entries[count].key = key;
	page->entries[count].expires_ms = expires;
	page->entries[count].value = page->entries[count].type = nothing;
	return &page->entries[count];
}

/* As scripts read numbers: to what this is HINCRBY can add. */
static bool is_integer(struct store_bytes text)
{
	size_t i = text.length > 0 && text.data[0] == '-';

	if (text.length == i || text.length > 20)
		return false;
	for (; i < text.length; i++)
		if (text.data[i] < '0' || text.data[i] > '9')
			return false;
	return true;
}

static void add_value(struct store_call *call, struct page *page,
		      struct store_bytes key, const redisReply *reply)
{
	struct store_cache_entry *entry =
		add(call, page, key,
		    (uint64_t)redis_reply_integer(redis_reply_at(reply, 1)));

	entry->value = keep(call, redis_reply_at(reply, 2));
	entry->type = keep(call, redis_reply_at(reply, 3));
	entry->created_ms =
		(uint64_t)redis_reply_integer(redis_reply_at(reply, 4));
	entry->kind = entry->type.length == 0 && is_integer(entry->value)
			      ? STORE_ENTRY_COUNTER
			      : STORE_ENTRY_VALUE;
}

static void add_list(struct store_call *call, struct page *page,
		     struct store_bytes key, const redisReply *reply)
{
	uint64_t expires =
		(uint64_t)redis_reply_integer(redis_reply_at(reply, 1));
	const redisReply *items = redis_reply_at(reply, 2);
	size_t count = redis_reply_count(items);

	for (size_t first = 0; first < count; first += STORE_BATCH_MAX) {
		size_t some = count - first < STORE_BATCH_MAX ? count - first
							      : STORE_BATCH_MAX;
		struct store_cache_entry *entry = add(call, page, key, expires);
		struct store_bytes *values =
			arena_take_zeroed(&call->arena, some, sizeof(*values));

		for (size_t i = 0; i < some; i++)
			values[i] = keep(call, items->element[first + i]);
		entry->kind = STORE_ENTRY_LIST;
		entry->values = values;
		entry->value_count = some;
		entry->is_continued = first > 0;
	}
}

static void ask_entries(struct redis *redis, struct store_call *call,
			struct page *page);

static void on_entries(struct redis *redis, struct redis_command *command,
		       const redisReply *reply)
{
	struct store_call *call = command->call;
	struct page *page = (struct page *)(uintptr_t)command->detail;
	size_t count = redis_reply_count(reply);

	if (page->next + count > page->count || count == 0) {
		redis_reply_odd(command);
		return;
	}
	for (size_t i = 0; i < count; i++) {
		const redisReply *entry = reply->element[i];
		struct store_bytes name = page->names[page->next + i];
		struct store_bytes kind =
			redis_reply_bytes(redis_reply_at(entry, 0));
		struct store_bytes key;

		if (kind.length != 1 ||
		    !redis_cache_unname(redis, &call->arena, name, &key))
			continue; /* it has gone meanwhile, or is not ours */
		if (*kind.data == 'l')
			add_list(call, page, key, entry);
		else
			add_value(call, page, key, entry);
	}
	page->next += count;
	redis_command_free(command);
	ask_entries(redis, call, page);
}

static void ask_entries(struct redis *redis, struct store_call *call,
			struct page *page)
{
	size_t some = redis->is_cluster ? 1 : page->count - page->next;

	if (page->next == page->count || call->is_answered) {
		call->back_data = NULL;
		call->answer.result = STORE_DONE;
		call->answer.entries.cursor = page->cursor;
		store_call_finish(call);
		return;
	}
	struct redis_command *command =
		redis_command_new(redis, call, on_entries);

	command->detail = (uint64_t)(uintptr_t)page;
	redis_script(command, SCRIPT_cache_export, some);
	for (size_t i = 0; i < some; i++)
		redis_key(command, page->names[page->next + i]);
	redis_send(redis, command);
}

static void on_names(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	struct store_call *call = command->call;
	struct redis_walk *walk =
		(struct redis_walk *)(uintptr_t)command->detail;
	struct page *page = arena_take_zeroed(&call->arena, 1, sizeof(*page));

	if (redis_reply_count(reply) != 2) {
		redis_reply_odd(command);
		return;
	}
	const redisReply *names = reply->element[1];

	page->count = redis_reply_count(names);
	page->names = arena_take_zeroed(&call->arena, page->count + 1,
					sizeof(*page->names));
	for (size_t i = 0; i < page->count; i++)
		page->names[i] = keep(call, names->element[i]);
	page->cursor = nothing;
	if (redis_walk_on(redis, call, walk, reply))
		page->cursor = redis_walk_cursor(walk, &call->arena);
	redis_command_free(command);
	ask_entries(redis, call, page);
}

void redis_export(struct redis *redis, struct store_call *call)
{
	const struct store_cache_export *request = call->request;
	struct redis_walk *walk = redis_walk_new(redis, call, nothing);
	uint64_t count = request->limit;

	if (count == 0 || count > ENTRIES_MAX)
		count = ENTRIES_MAX;
	if (count < SCAN_LEAST)
		count = SCAN_LEAST;
	redis_walk_go(walk, request->cursor);
	redis_scan(redis, call, walk, count, on_names);
}

/* ---- back in ---- */

static void on_imported(struct redis *redis, struct redis_command *command,
			const redisReply *reply)
{
	(void)redis;
	command->call->answer.result =
		redis_reply_integer(reply) == 1 ? STORE_DONE : STORE_NOT_FOUND;
	redis_finish(command);
}

void redis_import(struct redis *redis, struct store_call *call)
{
	const struct store_cache_import *request = call->request;
	const struct store_cache_entry *entry = &request->entry;
	bool is_list = entry->kind == STORE_ENTRY_LIST;
	struct redis_command *command =
		redis_command_new(redis, call, on_imported);

	/* A piece that comes twice would be there twice. */
	command->is_repeatable = !is_list || !entry->is_continued;
	redis_script(command, SCRIPT_cache_import, 1);
	redis_key_cache(command, "cache", entry->key);
	redis_text(command, !is_list ? "v" : entry->is_continued ? "m" : "l");
	redis_number(command, entry->expires_ms);
	if (!is_list) {
		redis_bytes(command, entry->value);
		redis_bytes(command, entry->type);
		redis_number(command, entry->created_ms);
	}
	for (size_t i = 0; i < entry->value_count; i++)
		redis_bytes(command, entry->values[i]);
	redis_send(redis, command);
}
