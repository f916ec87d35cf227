/*
 * On a Redis Cluster the cache is not where the tasks are, so effects of a
 * completion cross from one node to others:
 *
 *   1. each is staged beside its entry, under a name that is new each time;
 *   2. the completion is recorded, and in the same step the outbox: the name,
 *      and which entries;
 *   3. beside each entry, in one step, what is staged is made, and staged no
 *      more: so it is made once, whoever comes;
 *   4. the outbox forgets it, and the completion is answered.
 *
 * Who dies between 1 and 2 leaves what nobody will make, until it expires. Who
 * dies after 2 has somebody who claims, some seconds later, go on with 3.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/must.h"
#include "store/redis_internal.h"

#define STAGED_MS ((uint64_t)7 * 24 * 3600 * 1000)

const char *const redis_effect_kinds[] = {
	[STORE_EFFECT_CACHE_SAVE] = "s",
	[STORE_EFFECT_CACHE_ADD] = "a",
	[STORE_EFFECT_CACHE_DESTROY] = "d",
};

/* The effects of one completion on one entry. */
struct part {
	struct redis_outbox *outbox;
	size_t item;
	struct store_bytes key;
	struct store_bytes name; /* that they are staged by */
	bool is_wanted;          /* to be made */
};

struct item {
	struct store_bytes id;
	struct store_bytes name;
	struct store_bytes entry; /* in the outbox */
	bool has_failed;
	bool is_made; /* or is to be, if nothing fails */
};

struct redis_outbox {
	struct redis *redis;
	struct store_call *call; /* whose arena all this is in */
	struct item *items;
	size_t item_count;
	struct part *parts;
	size_t part_count;
	size_t pending;
	struct problem problem; /* the first of what has failed */
};

/* ---- a piece of work on one entry ---- */

static void on_reply(struct redis *redis, struct redis_command *command,
		     const redisReply *reply)
{
	(void)redis;
	(void)reply;
	command->call->answer.result = STORE_DONE;
	redis_finish(command);
}

/* Answered whatever becomes of the command. */
static struct redis_command *begin(struct part *part, store_answer_fn on_answer)
{
	struct redis_outbox *outbox = part->outbox;
	struct store_call *call =
		store_call_new(outbox->redis->store, STORE_OWN_CALL);

	call->is_answered = false;
	call->on_answer = on_answer;
	call->owner = part;
	return redis_command_new(outbox->redis, call, on_reply);
}

/* ---- 3: making them ---- */

static void finish(struct redis_outbox *outbox)
{
	struct redis *redis = outbox->redis;

	for (size_t i = 0; i < outbox->item_count; i++) {
		const struct item *item = &outbox->items[i];

		if (!item->is_made || item->has_failed || redis->is_closing)
			continue;
		struct redis_command *command =
			redis_command_new(redis, NULL, NULL);

		command->takes_errors = true;
		redis_script(command, SCRIPT_outbox_done, 2);
		redis_key_tasks(command, "_outbox");
		redis_key_tasks(command, "_outbox_at");
		redis_bytes(command, item->id);
		redis_send(redis, command);
	}
	store_call_finish(outbox->call);
}

static void on_made(void *owner, const struct store_answer *answer)
{
	struct part *part = owner;
	struct redis_outbox *outbox = part->outbox;

	if (answer->error != 0)
		outbox->items[part->item].has_failed = true;
	if (--outbox->pending == 0)
		finish(outbox);
}

static void make_all(struct redis_outbox *outbox)
{
	outbox->pending = 1; /* until all are on their way */
	for (size_t i = 0; i < outbox->part_count; i++) {
		struct part *part = &outbox->parts[i];

		if (!part->is_wanted)
			continue;
		struct redis_command *command = begin(part, on_made);

		outbox->pending++;
		redis_script(command, SCRIPT_outbox_apply, 2);
		redis_key_cache(command, "cache", part->key);
		redis_key_cache(command, "_staged", part->key);
		redis_bytes(command, part->name);
		redis_send(outbox->redis, command);
	}
	if (--outbox->pending == 0)
		finish(outbox);
}

/* ---- 2: completing ---- */

/* An entry is NAME|LENGTH:KEY... False: that is none. */
static bool next_key(struct store_bytes *entry, struct store_bytes *key)
{
	size_t length = 0;

	while (entry->length > 0 && *entry->data >= '0' &&
	       *entry->data <= '9' && length < entry->length * 10) {
		length = length * 10 + (size_t)(*entry->data - '0');
		entry->data++;
		entry->length--;
	}
	if (entry->length < 1 || *entry->data != ':' ||
	    length > entry->length - 1)
		return false;
	*key = store_bytes(entry->data + 1, length);
	*entry = store_bytes(entry->data + 1 + length,
			     entry->length - 1 - length);
	return true;
}

static struct store_bytes take_name(struct store_bytes *entry)
{
	const char *bar = entry->length == 0
				  ? NULL
				  : memchr(entry->data, '|', entry->length);

	if (bar == NULL)
		return (struct store_bytes){ "", 0 };
	struct store_bytes name =
		store_bytes(entry->data, (size_t)(bar - entry->data));

	*entry = store_bytes(bar + 1, entry->length - name.length - 1);
	return name;
}

static void drop(struct redis_outbox *outbox, const struct part *part)
{
	struct redis_command *command =
		redis_command_new(outbox->redis, NULL, NULL);

	command->takes_errors = true;
	redis_text(command, "HDEL");
	redis_key_cache(command, "_staged", part->key);
	redis_bytes(command, part->name);
	redis_send(outbox->redis, command);
}

/* Recorded just now, by us or by another try of ours, or not at all. What was
 * recorded before under another name has been made, or is made under that. */
static void settle(struct redis_outbox *outbox, size_t number,
		   enum store_result result, struct store_bytes left)
{
	struct item *item = &outbox->items[number];
	bool is_ours = result == STORE_DONE ||
		       (result == STORE_KNOWN && left.length > 0 &&
			store_bytes_equal(take_name(&left), item->name));

	item->is_made = is_ours && item->entry.length > 0;
	for (size_t i = 0; i < outbox->part_count; i++) {
		struct part *part = &outbox->parts[i];

		if (part->item != number)
			continue;
		part->is_wanted = is_ours;
		if (!is_ours)
			drop(outbox, part);
	}
}

static void on_completed(struct redis *redis, struct redis_command *command,
			 const redisReply *reply)
{
	struct store_call *call = command->call;
	struct redis_outbox *outbox =
		(struct redis_outbox *)(uintptr_t)command->detail;
	size_t count = outbox->item_count;

	(void)redis;
	if (redis_reply_count(reply) != count + 1) {
		redis_reply_odd(command);
		return;
	}
	enum store_result *results = store_call_results(call, count);

	for (size_t i = 0; i < count; i++) {
		results[i] = (enum store_result)redis_reply_integer(
			reply->element[i]);
		settle(outbox, i, results[i],
		       redis_reply_bytes(
			       redis_reply_at(reply->element[count], i)));
	}
	redis_command_free(command);
	call->back_data = NULL;
	make_all(outbox);
}

struct store_bytes redis_outbox_entry(const struct redis_outbox *outbox,
				      size_t item)
{
	return outbox->items[item].entry;
}

/* ---- 1: staging ---- */

static void on_all_staged(struct redis_outbox *outbox)
{
	struct store_call *call = outbox->call;

	if (outbox->redis->is_closing || outbox->problem.code < 0) {
		if (outbox->problem.code < 0)
			store_call_fail_as(call, &outbox->problem);
		store_call_finish(call);
		return;
	}
	/* Nobody waits: who asks again stages anew. */
	if (call->is_answered) {
		store_call_finish(call);
		return;
	}
	redis_complete(outbox->redis, call, outbox, on_completed);
}

static void on_staged(void *owner, const struct store_answer *answer)
{
	struct part *part = owner;
	struct redis_outbox *outbox = part->outbox;

	if (answer->error != 0 && outbox->problem.code == 0)
		outbox->problem = *answer->problem;
	if (--outbox->pending == 0)
		on_all_staged(outbox);
}

static void write_part(struct redis_command *command,
		       const struct store_completion *item,
		       const struct part *part)
{
	for (size_t i = 0; i < item->effect_count; i++) {
		const struct store_effect *effect = &item->effects[i];

		if (effect->kind == STORE_EFFECT_ENQUEUE ||
		    !store_bytes_equal(effect->key, part->key))
			continue;
		redis_text(command, redis_effect_kinds[effect->kind]);
		if (effect->kind == STORE_EFFECT_CACHE_ADD)
			redis_integer(command, effect->delta);
		else
			redis_bytes(command, effect->value);
		redis_bytes(command, effect->type);
		redis_number(command, effect->ttl_ms);
	}
}

static void stage_all(struct redis_outbox *outbox)
{
	const struct store_complete *request = outbox->call->request;

	outbox->pending = 1;
	for (size_t i = 0; i < outbox->part_count; i++) {
		struct part *part = &outbox->parts[i];
		struct redis_command *command = begin(part, on_staged);

		outbox->pending++;
		redis_script(command, SCRIPT_outbox_stage, 1);
		redis_key_cache(command, "_staged", part->key);
		redis_bytes(command, part->name);
		redis_number(command, STAGED_MS);
		write_part(command, &request->items[part->item], part);
		command->must_replicate = outbox->redis->wait_replicas > 0;
		redis_send(outbox->redis, command);
	}
	if (--outbox->pending == 0)
		on_all_staged(outbox);
}

/* ---- what is to be staged ---- */

static struct redis_outbox *outbox_new(struct redis *redis,
				       struct store_call *call, size_t items,
				       size_t parts)
{
	struct redis_outbox *outbox =
		arena_take_zeroed(&call->arena, 1, sizeof(*outbox));

	outbox->redis = redis;
	outbox->call = call;
	outbox->item_count = items;
	outbox->items =
		arena_take_zeroed(&call->arena, items, sizeof(*outbox->items));
	outbox->parts =
		arena_take_zeroed(&call->arena, parts, sizeof(*outbox->parts));
	call->back_data = NULL;
	return outbox;
}

static void add_part(struct redis_outbox *outbox, size_t item,
		     struct store_bytes key, struct store_bytes name)
{
	for (size_t i = outbox->part_count;
	     i > 0 && outbox->parts[i - 1].item == item; i--)
		if (store_bytes_equal(outbox->parts[i - 1].key, key))
			return;
	outbox->parts[outbox->part_count++] = (struct part){
		.outbox = outbox, .item = item, .key = key, .name = name
	};
}

static void name_item(struct redis_outbox *outbox, size_t number,
		      struct buffer *entry)
{
	struct item *item = &outbox->items[number];
	struct arena *arena = &outbox->call->arena;

	item->name = arena_copy(arena, buffer_bytes(entry),
				buffer_length(entry) - 1);
	for (size_t i = 0; i < outbox->part_count; i++) {
		struct part *part = &outbox->parts[i];

		if (part->item != number)
			continue;
		part->name = item->name;
		buffer_append_format(entry, "%zu:", part->key.length);
		buffer_append(entry, part->key.data, part->key.length);
	}
	item->entry =
		arena_copy(arena, buffer_bytes(entry), buffer_length(entry));
}

static void gather(struct redis_outbox *outbox,
		   const struct store_complete *request)
{
	struct store_bytes nothing = { "", 0 };

	for (size_t i = 0; i < request->count; i++) {
		const struct store_completion *item = &request->items[i];
		struct buffer entry = { 0 };
		size_t before = outbox->part_count;
		uint64_t random[2];

		outbox->items[i].id = item->id;
		outbox->items[i].name = outbox->items[i].entry = nothing;
		for (size_t j = 0; j < item->effect_count; j++)
			if (item->effects[j].kind != STORE_EFFECT_ENQUEUE)
				add_part(outbox, i, item->effects[j].key,
					 nothing);
		if (outbox->part_count == before)
			continue;
		MUST(getrandom(random, sizeof(random), 0) == sizeof(random));
		buffer_append_format(&entry, "%016" PRIx64 "%016" PRIx64 "|",
				     random[0], random[1]);
		name_item(outbox, i, &entry);
		buffer_fini(&entry);
	}
}

void redis_outbox_complete(struct redis *redis, struct store_call *call)
{
	const struct store_complete *request = call->request;
	size_t parts = 0;

	for (size_t i = 0; i < request->count; i++)
		parts += request->items[i].effect_count;
	struct redis_outbox *outbox =
		outbox_new(redis, call, request->count, parts);

	gather(outbox, request);
	stage_all(outbox);
}

/* ---- what somebody else left undone ---- */

static size_t count_keys(struct store_bytes entry)
{
	struct store_bytes key;
	size_t count = 0;

	take_name(&entry);
	while (next_key(&entry, &key))
		count++;
	return count;
}

void redis_outbox_take(struct redis *redis, const redisReply *left)
{
	size_t count = redis_reply_count(left) / 2;
	size_t parts = 0;

	if (count == 0 || redis->is_closing)
		return;
	for (size_t i = 0; i < count; i++)
		parts +=
			count_keys(redis_reply_bytes(left->element[2 * i + 1]));
	struct store_call *call = store_call_new(redis->store, STORE_OWN_CALL);
	struct redis_outbox *outbox = outbox_new(redis, call, count, parts);

	for (size_t i = 0; i < count; i++) {
		struct item *item = &outbox->items[i];
		struct store_bytes id = redis_reply_bytes(left->element[2 * i]);
		struct store_bytes entry =
			redis_reply_bytes(left->element[2 * i + 1]);
		struct store_bytes key;

		entry = arena_copy(&call->arena, entry.data, entry.length);
		item->id = arena_copy(&call->arena, id.data, id.length);
		item->name = take_name(&entry);
		item->is_made = true;
		while (next_key(&entry, &key))
			add_part(outbox, i, key, item->name);
	}
	for (size_t i = 0; i < outbox->part_count; i++)
		outbox->parts[i].is_wanted = true;
	make_all(outbox);
}
