#include "service/cache_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/cache.h"

/* ---- out ---- */

static json_t *bytes_of(struct store_bytes bytes)
{
	json_t *text =
		json_stringn(bytes.length == 0 ? "" : bytes.data, bytes.length);

	if (text != NULL)
		return text;
	char *encoded = mem_alloc(base64_length(bytes.length) + 1);

	base64_encode(bytes.data, bytes.length, encoded);
	text = json_pack("{s:s}", "base64", encoded);
	free(encoded);
	return text;
}

static int append(const char *bytes, size_t length, void *buffer)
{
	buffer_append(buffer, bytes, length);
	return 0;
}

/* Takes the object over. */
static void write_line(struct buffer *buffer, json_t *object)
{
	MUST(object != NULL);
	MUST(json_dump_callback(object, append, buffer, JSON_COMPACT) == 0);
	json_decref(object);
	buffer_append(buffer, "\n", 1);
}

void cache_file_write_head(struct buffer *buffer, uint64_t created_ms)
{
	write_line(buffer, json_pack("{s:s, s:i, s:I}", "muster", "cache",
				     "version", CACHE_FILE_VERSION, "created",
				     (json_int_t)created_ms));
}

void cache_file_write_end(struct buffer *buffer, uint64_t count)
{
	write_line(buffer, json_pack("{s:I}", "end", (json_int_t)count));
}

static void set_time(json_t *object, const char *name, uint64_t time_ms)
{
	if (time_ms != 0)
		json_object_set_new(object, name,
				    json_integer((json_int_t)time_ms));
}

static void write_with_times(struct buffer *buffer,
			     const struct store_cache_entry *entry,
			     json_t *object)
{
	set_time(object, "created", entry->created_ms);
	set_time(object, "expires", entry->expires_ms);
	write_line(buffer, object);
}

static void write_list(struct buffer *buffer,
		       const struct store_cache_entry *entry)
{
	bool is_continued = entry->is_continued;

	for (size_t i = 0; i < entry->value_count;) {
		json_t *values = json_array();
		size_t bytes = 0;

		for (; i < entry->value_count && bytes < CACHE_FILE_LIST_BYTES;
		     i++) {
			json_array_append_new(values,
					      bytes_of(entry->values[i]));
			bytes += entry->values[i].length + 1;
		}
		write_with_times(
			buffer, entry,
			json_pack("{s:o, s:o}", "key", bytes_of(entry->key),
				  is_continued ? "more" : "list", values));
		is_continued = true;
	}
}

void cache_file_write_entry(struct buffer *buffer,
			    const struct store_cache_entry *entry)
{
	json_t *object;

	if (entry->kind == STORE_ENTRY_LIST) {
		write_list(buffer, entry);
		return;
	}
	object = json_pack("{s:o, s:o}", "key", bytes_of(entry->key),
			   entry->kind == STORE_ENTRY_COUNTER ? "counter"
							      : "value",
			   bytes_of(entry->value));
	if (entry->type.length > 0)
		json_object_set_new(object, "type", bytes_of(entry->type));
	write_with_times(buffer, entry, object);
}

/* ---- in ---- */

struct line {
	struct cache_reader *reader;
	struct arena *arena;
	struct store_cache_entry *entry;
	struct problem *problem;
};

static int damaged(const struct line *line, const char *what)
{
	return problem_set(line->problem, -EBADMSG, "DUMP_DAMAGED",
			   "line %" PRIu64 " of the dump is damaged: %s "
			   "(nothing can be taken from it; use another dump)",
			   line->reader->line, what);
}

static int read_base64(const struct line *line, const json_t *text,
		       struct store_bytes *bytes)
{
	size_t length = json_string_length(text);
	char *room = arena_take(line->arena, length / 4 * 3 + 1);

	if (!json_is_string(text) ||
	    !base64_decode(json_string_value(text), length, room,
			   &bytes->length))
		return damaged(line, "that is not base64");
	bytes->data = room;
	return 0;
}

static int read_bytes(const struct line *line, const json_t *value,
		      struct store_bytes *bytes)
{
	if (json_is_object(value) && json_object_size(value) == 1)
		return read_base64(line, json_object_get(value, "base64"),
				   bytes);
	if (!json_is_string(value))
		return damaged(line, "bytes are a text or {\"base64\": ...}");
	bytes->length = json_string_length(value);
	bytes->data = arena_text(line->arena, json_string_value(value),
				 bytes->length);
	return 0;
}

static int read_value(const struct line *line, const json_t *value,
		      struct store_bytes *bytes)
{
	int error = read_bytes(line, value, bytes);

	if (error == 0 && bytes->length > line->reader->value_bytes_max)
		error = problem_set(line->problem, -EMSGSIZE, "VALUE_TOO_LARGE",
				    "line %" PRIu64
				    " of the dump has a value of %zu "
				    "bytes, but %zu are the most (raise "
				    "cache_value_bytes)",
				    line->reader->line, bytes->length,
				    line->reader->value_bytes_max);
	return error;
}

static int read_key(const struct line *line, const json_t *value)
{
	struct store_bytes *key = &line->entry->key;
	int error = read_bytes(line, value, key);

	if (error < 0)
		return error;
	const char *text = arena_text(line->arena, key->data, key->length);

	if (strlen(text) != key->length)
		return damaged(line, "a key has a NUL");
	return cache_key_problem(text, line->problem);
}

static int read_time(const struct line *line, const json_t *value,
		     uint64_t *time_ms)
{
	if (!json_is_integer(value) || json_integer_value(value) <= 0)
		return damaged(line, "a time is milliseconds since 1970");
	*time_ms = (uint64_t)json_integer_value(value);
	return 0;
}

static int read_list(const struct line *line, const json_t *values)
{
	size_t count = json_array_size(values);
	struct store_bytes *list =
		arena_take_zeroed(line->arena, count + 1, sizeof(*list));
	int error = 0;

	if (count == 0 || count > STORE_BATCH_MAX)
		return damaged(line, "a list has 1 to 1024 values a line");
	for (size_t i = 0; i < count && error == 0; i++)
		error = read_value(line, json_array_get(values, i), &list[i]);
	line->entry->kind = STORE_ENTRY_LIST;
	line->entry->values = list;
	line->entry->value_count = count;
	return error;
}

static int read_counter(const struct line *line, const json_t *value)
{
	const char *text = json_string_value(value);
	char *end = NULL;

	errno = 0;
	if (text == NULL || (strtoll(text, &end, 10), end == text) ||
	    *end != '\0' || errno != 0)
		return damaged(line, "a counter is decimal digits");
	line->entry->kind = STORE_ENTRY_COUNTER;
	return read_value(line, value, &line->entry->value);
}

static int read_member(const struct line *line, const char *name,
		       const json_t *value)
{
	struct store_cache_entry *entry = line->entry;

	if (strcmp(name, "key") == 0)
		return read_key(line, value);
	if (strcmp(name, "value") == 0)
		return read_value(line, value, &entry->value);
	if (strcmp(name, "counter") == 0)
		return read_counter(line, value);
	if (strcmp(name, "type") == 0)
		return read_bytes(line, value, &entry->type);
	if (strcmp(name, "created") == 0)
		return read_time(line, value, &entry->created_ms);
	if (strcmp(name, "expires") == 0)
		return read_time(line, value, &entry->expires_ms);
	entry->is_continued = strcmp(name, "more") == 0;
	if (entry->is_continued || strcmp(name, "list") == 0)
		return read_list(line, value);
	return damaged(line, "it has a member that does not belong there");
}

/* Each line has its key and one of what can be under it. */
static int check_members(const struct line *line, const json_t *object)
{
	static const char *const kinds[] = { "value", "counter", "list",
					     "more" };
	size_t count = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		count += json_object_get(object, kinds[i]) != NULL;
	if (json_object_get(object, "key") == NULL || count != 1)
		return damaged(line, "an entry is a key and its value");
	if (json_object_get(object, "type") != NULL &&
	    json_object_get(object, "value") == NULL)
		return damaged(line, "nothing but a value has a type");
	if (line->entry->type.length > 127)
		return damaged(line, "a type has up to 127 bytes");
	return 0;
}

static int check_order(const struct line *line)
{
	struct cache_reader *reader = line->reader;
	const struct store_cache_entry *entry = line->entry;

	if (!entry->is_continued) {
		reader->count++;
		free(reader->list_key);
		reader->list_key = NULL;
		if (entry->kind == STORE_ENTRY_LIST)
			reader->list_key = mem_text(entry->key.data);
		return 0;
	}
	if (reader->list_key == NULL ||
	    strcmp(reader->list_key, entry->key.data) != 0)
		return damaged(line,
			       "it goes on with a list that is not there");
	return 0;
}

static int read_entry(const struct line *line, json_t *object)
{
	const char *name;
	json_t *value;

	json_object_foreach(object, name, value)
	{
		int error = read_member(line, name, value);

		if (error < 0)
			return error;
	}
	int error = check_members(line, object);

	return error < 0 ? error : check_order(line);
}

static int read_end(const struct line *line, const json_t *object)
{
	const json_t *count = json_object_get(object, "end");

	if (json_object_size(object) != 1 || !json_is_integer(count))
		return damaged(line, "it ends with more than it should");
	if ((uint64_t)json_integer_value(count) != line->reader->count)
		return problem_set(line->problem, -EBADMSG, "DUMP_TORN",
				   "the dump is not whole: it has %" PRIu64
				   " keys and should have %lld (use another)",
				   line->reader->count,
				   (long long)json_integer_value(count));
	line->reader->has_ended = true;
	return CACHE_LINE_END;
}

static int read_head(const struct line *line, const json_t *object)
{
	const char *what = json_string_value(json_object_get(object, "muster"));
	const json_t *version = json_object_get(object, "version");

	if (what == NULL || strcmp(what, "cache") != 0)
		return problem_set(line->problem, -EBADMSG, "DUMP_FOREIGN",
				   "the file is not a dump of a cache (muster "
				   "cache dump writes one)");
	if (json_integer_value(version) != CACHE_FILE_VERSION)
		return problem_set(line->problem, -EBADMSG, "DUMP_VERSION",
				   "the dump has version %lld, but this reads "
				   "version %d (use the program that wrote it)",
				   (long long)json_integer_value(version),
				   CACHE_FILE_VERSION);
	return CACHE_LINE_ENTRY;
}

int cache_reader_take(struct cache_reader *reader, struct store_bytes bytes,
		      struct arena *arena, struct store_cache_entry *entry,
		      struct problem *problem)
{
	struct line line = { reader, arena, entry, problem };
	json_error_t error;
	int answer;

	*entry = (struct store_cache_entry){ 0 };
	reader->line++;
	if (reader->has_ended)
		return damaged(&line, "something follows the end");
	json_t *object =
		json_loadb(bytes.data, bytes.length,
			   JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
	if (reader->line == 1)
		answer = read_head(&line, object);
	else if (!json_is_object(object))
		answer = damaged(&line, "it is not a JSON object");
	else if (json_object_get(object, "end") != NULL)
		answer = read_end(&line, object);
	else
		answer = read_entry(&line, object);
	json_decref(object);
	return answer;
}

void cache_reader_fini(struct cache_reader *reader)
{
	free(reader->list_key);
	reader->list_key = NULL;
}
