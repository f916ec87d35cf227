/*
 * Any bytes as the Cookie header. What is read lies within them; and what may
 * be written as a cookie of ours is read again as it was.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/cookie.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static char *text_of(struct field_text text)
{
	char *copy = mem_alloc(text.length + 1);

	if (text.length > 0)
		memcpy(copy, text.bytes, text.length);
	copy[text.length] = 0;
	return copy;
}

static void check_written(const struct cookie *cookie)
{
	struct buffer written = { 0 };
	struct cookie_pair again;

	cookie_write(cookie, &written);
	struct field_text rest = { (const char *)buffer_bytes(&written),
				   buffer_length(&written) };
	const char *value = cookie->value;
	size_t length = strlen(value);

	if (length >= 2 && *value == '"') {
		value++;
		length -= 2;
	}
	MUST(cookie_next(&rest, &again));
	MUST(again.name.length == strlen(cookie->name) &&
	     memcmp(again.name.bytes, cookie->name, again.name.length) == 0);
	MUST(again.value.length == length &&
	     memcmp(again.value.bytes, value, length) == 0);
	MUST(rest.length == 0);
	MUST(memchr(buffer_bytes(&written), '\n', buffer_length(&written)) ==
	     NULL);
	buffer_fini(&written);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct field_text rest = { (const char *)bytes, length };
	const char *end = rest.bytes + length;
	struct cookie_pair pair;

	while (cookie_next(&rest, &pair)) {
		MUST(pair.name.bytes >= (const char *)bytes);
		MUST(pair.value.bytes >= pair.name.bytes + pair.name.length);
		MUST(pair.value.bytes + pair.value.length <= end);
		MUST(pair.name.length > 0);
		char *name = text_of(pair.name);
		char *value = text_of(pair.value);
		struct cookie cookie = { .name = name, .value = value };

		if (cookie_fault(&cookie) == NULL)
			check_written(&cookie);
		free(name);
		free(value);
	}
	return 0;
}
