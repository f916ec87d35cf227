#include <stdio.h>

#include "base/must.h"
#include "store/redis_internal.h"

/*
 * PREFIX:tasks:..., PREFIX:peers and so on, as contract 8 lists them. On a
 * Cluster braces are put around what has to share a slot, and nothing else
 * changes. What users name is written with %XX where it could be taken for
 * something else.
 */

static const char *brace(const struct redis *redis, const char *which)
{
	return redis->is_cluster ? which : "";
}

static void finish_key(struct redis_command *command, struct buffer *name)
{
	redis_key(command,
		  store_bytes(buffer_bytes(name), buffer_length(name)));
	buffer_fini(name);
}

static void append_tasks(const struct redis *redis, struct buffer *name)
{
	buffer_append_format(name, "%s%s:tasks%s:", brace(redis, "{"),
			     redis->store->prefix, brace(redis, "}"));
}

void redis_key_tasks(struct redis_command *command, const char *what)
{
	struct buffer name = { 0 };

	append_tasks(command->redis, &name);
	buffer_append_text(&name, what);
	finish_key(command, &name);
}

void redis_key_owned(struct redis_command *command, struct store_bytes owner)
{
	struct buffer name = { 0 };

	append_tasks(command->redis, &name);
	buffer_append_text(&name, "_owned:");
	buffer_append(&name, owner.data, owner.length);
	finish_key(command, &name);
}

void redis_key_queue(struct redis_command *command, struct store_bytes queue,
		     unsigned priority)
{
	struct buffer name = { 0 };

	append_tasks(command->redis, &name);
	if (queue.length == 0)
		buffer_append_text(&name, "global");
	else
		buffer_append(&name, queue.data, queue.length);
	if (priority > 0)
		buffer_append_format(&name, ":p%u", priority);
	finish_key(command, &name);
}

void redis_key_wake(struct redis_command *command, struct store_bytes queue)
{
	struct buffer name = { 0 };

	append_tasks(command->redis, &name);
	buffer_append_text(&name, "_wake");
	if (queue.length > 0) {
		buffer_append_text(&name, ":");
		buffer_append(&name, queue.data, queue.length);
	}
	finish_key(command, &name);
}

bool redis_wake_unname(const struct redis *redis, struct store_bytes name,
		       struct store_bytes *queue)
{
	struct buffer start = { 0 };

	append_tasks(redis, &start);
	buffer_append_text(&start, "_wake");
	size_t length = buffer_length(&start);
	bool is_wake = name.length >= length &&
		       memcmp(name.data, buffer_bytes(&start), length) == 0 &&
		       (name.length == length || name.data[length] == ':');

	buffer_fini(&start);
	if (is_wake)
		*queue = name.length == length
				 ? (struct store_bytes){ "", 0 }
				 : store_bytes(name.data + length + 1,
					       name.length - length - 1);
	return is_wake;
}

void redis_key_plain(struct redis_command *command, const char *what)
{
	struct buffer name = { 0 };
	const struct redis *redis = command->redis;

	buffer_append_format(&name, "%s%s%s:%s", brace(redis, "{"),
			     redis->store->prefix, brace(redis, "}"), what);
	finish_key(command, &name);
}

static bool is_special(unsigned char byte)
{
	return byte < ' ' || byte == 0x7f || byte == '%' || byte == '{' ||
	       byte == '}' || byte == ':';
}

/* Most of them need no encoding, or little. */
static void append_encoded(struct buffer *name, struct store_bytes text)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t plain = 0; /* where what is not appended yet begins */

	for (size_t i = 0; i < text.length; i++) {
		unsigned char byte = (unsigned char)text.data[i];

		if (!is_special(byte))
			continue;
		buffer_append(name, text.data + plain, i - plain);
		buffer_append(
			name,
			(char[]){ '%', digits[byte >> 4], digits[byte & 15] },
			3);
		plain = i + 1;
	}
	if (plain < text.length)
		buffer_append(name, text.data + plain, text.length - plain);
}

static void append_table(const struct redis *redis, struct buffer *name,
			 const char *table)
{
	buffer_append_text(name, redis->store->prefix);
	buffer_append_text(name, ":");
	buffer_append_text(name, table);
	buffer_append_text(name, ":");
	buffer_append_text(name, brace(redis, "{"));
}

void redis_key_cache(struct redis_command *command, const char *table,
		     struct store_bytes key)
{
	struct buffer name = { 0 };

	append_table(command->redis, &name, table);
	append_encoded(&name, key);
	buffer_append_text(&name, brace(command->redis, "}"));
	finish_key(command, &name);
}

/* One for all locks, or, where that would be in another slot, one for each. */
void redis_key_fence(struct redis_command *command, struct store_bytes key)
{
	if (command->redis->is_cluster)
		redis_key_cache(command, "_fence", key);
	else
		redis_key_plain(command, "_fence");
}

void redis_cache_pattern(const struct redis *redis, const char *table,
			 struct store_bytes prefix, struct buffer *pattern)
{
	struct buffer name = { 0 };

	append_table(redis, &name, table);
	append_encoded(&name, prefix);
	for (size_t i = 0; i < buffer_length(&name); i++) {
		char letter = (char)buffer_bytes(&name)[i];

		if (strchr("*?[]\\^", letter) != NULL)
			buffer_append_text(pattern, "\\");
		buffer_append(pattern, &letter, 1);
	}
	buffer_append_text(pattern, "*");
	buffer_fini(&name);
}

static int hex(char letter)
{
	return letter <= '9' ? letter - '0' : (letter | 0x20) - 'a' + 10;
}

bool redis_cache_unname(const struct redis *redis, struct arena *arena,
			struct store_bytes name, struct store_bytes *key)
{
	struct buffer start = { 0 };

	append_table(redis, &start, "cache");
	size_t at = buffer_length(&start);
	size_t end = name.length - (redis->is_cluster ? 1 : 0);
	bool is_entry = name.length > at &&
			memcmp(name.data, buffer_bytes(&start), at) == 0;

	buffer_fini(&start);
	if (!is_entry)
		return false;
	char *text = arena_take(arena, name.length - at);
	size_t length = 0;

	for (; at < end; at++) {
		char letter = name.data[at];

		if (letter == '%' && at + 2 < name.length) {
			letter = (char)(hex(name.data[at + 1]) << 4 |
					hex(name.data[at + 2]));
			at += 2;
		}
		text[length++] = letter;
	}
	*key = store_bytes(text, length);
	return true;
}

/* CRC-16 (XMODEM) of what is in the first braces, or of all of it. */
unsigned redis_slot(struct store_bytes key)
{
	const char *open = memchr(key.data, '{', key.length);
	unsigned sum = 0;

	if (open != NULL) {
		size_t left = key.length - (size_t)(open + 1 - key.data);
		const char *close = memchr(open + 1, '}', left);

		if (close != NULL && close > open + 1)
			key = store_bytes(open + 1, (size_t)(close - open) - 1);
	}
	for (size_t i = 0; i < key.length; i++) {
		sum ^= (unsigned)(unsigned char)key.data[i] << 8;
		for (int bit = 0; bit < 8; bit++)
			sum = (sum & 0x8000) != 0 ? sum << 1 ^ 0x1021
						  : sum << 1;
		sum &= 0xffff;
	}
	return sum % REDIS_SLOTS;
}

unsigned redis_tasks_slot(const struct redis *redis)
{
	struct buffer name = { 0 };

	append_tasks(redis, &name);
	const uint8_t *bytes = buffer_bytes(&name);

	MUST(bytes != NULL);
	unsigned slot = redis_slot(store_bytes(bytes, buffer_length(&name)));

	buffer_fini(&name);
	return slot;
}
