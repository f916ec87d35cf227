/*
 * Any text as a dumped cache. What is refused has a reason; an entry that is
 * read can be written, and is then read as the same.
 */
#include <stdint.h>
#include <string.h>

#include "base/must.h"
#include "service/cache_file.h"

#define VALUE_BYTES_MAX 1000

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static bool is_same(struct store_bytes a, struct store_bytes b)
{
	return a.length == b.length &&
	       (a.length == 0 || memcmp(a.data, b.data, a.length) == 0);
}

static int take(struct cache_reader *reader, struct store_bytes line,
		struct arena *arena, struct store_cache_entry *entry)
{
	struct problem problem = { 0 };
	int answer = cache_reader_take(reader, line, arena, entry, &problem);

	MUST((answer < 0) == (problem.code < 0));
	MUST(answer >= 0 || strlen(problem.text) > 0);
	return answer;
}

/* As the first entry of a dump of its own. */
static void write_and_read(const struct store_cache_entry *entry)
{
	struct cache_reader reader = { .value_bytes_max = VALUE_BYTES_MAX,
				       .line = 1 };
	struct store_cache_entry first = *entry;
	struct store_cache_entry again;
	struct buffer buffer = { 0 };
	struct arena arena = { 0 };
	size_t values = 0;

	first.is_continued = false;
	cache_file_write_entry(&buffer, &first);
	for (const char *at = (const char *)buffer_bytes(&buffer),
			*end = at + buffer_length(&buffer);
	     at < end;) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));

		MUST(newline != NULL);
		MUST(take(&reader, store_bytes(at, (size_t)(newline - at)),
			  &arena, &again) == CACHE_LINE_ENTRY);
		MUST(is_same(again.key, entry->key));
		MUST(is_same(again.value, entry->value));
		MUST(is_same(again.type, entry->type));
		MUST(again.kind == entry->kind);
		MUST(again.created_ms == entry->created_ms);
		MUST(again.expires_ms == entry->expires_ms);
		for (size_t i = 0; i < again.value_count; i++)
			MUST(is_same(again.values[i], entry->values[values++]));
		at = newline + 1;
	}
	MUST(values == entry->value_count);
	MUST(reader.count == 1);
	cache_reader_fini(&reader);
	arena_fini(&arena);
	buffer_fini(&buffer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct cache_reader reader = { .value_bytes_max = VALUE_BYTES_MAX };
	const char *at = (const char *)bytes;
	const char *end = at + length;
	int answer = 0;

	while (answer >= 0 && at < end) {
		const char *newline = memchr(at, '\n', (size_t)(end - at));
		struct store_cache_entry entry;
		struct arena arena = { 0 };

		if (newline == NULL)
			newline = end;
		answer = take(&reader, store_bytes(at, (size_t)(newline - at)),
			      &arena, &entry);
		if (answer == CACHE_LINE_ENTRY && entry.key.length > 0)
			write_and_read(&entry);
		arena_fini(&arena);
		at = newline + 1;
	}
	cache_reader_fini(&reader);
	return 0;
}
