/*
 * Any bytes as a form. Pairs lie within it, in order; decoding never makes a
 * text longer, nor puts a NUL where there was none, and in place it does the
 * same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/urlencoded.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_decoded(const char *text, size_t length)
{
	char *apart = mem_alloc(length + 1);
	char *in_place = mem_alloc(length + 1);
	bool has_nul;

	if (length > 0)
		memcpy(in_place, text, length);
	size_t decoded = urlencoded_decode(apart, text, length);

	MUST(decoded <= length);
	MUST(urlencoded_decode(in_place, in_place, length) == decoded);
	MUST(memcmp(apart, in_place, decoded) == 0);
	MUST(decoded == 0 || memchr(apart, 0, decoded) == NULL ||
	     memchr(text, 0, length) != NULL);
	MUST(urlencoded_decode_path(apart, text, length, &has_nul) == decoded);
	MUST(has_nul || decoded == 0 || memchr(apart, 0, decoded) == NULL);
	free(apart);
	free(in_place);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	const char *at = (const char *)bytes;
	const char *end = at + length;
	struct urlencoded reader;
	struct urlencoded_pair pair;
	size_t count = 0;

	urlencoded_init(&reader, at, length);
	while (urlencoded_next(&reader, &pair)) {
		MUST(pair.name >= at && pair.value >= pair.name);
		at = pair.value + pair.value_length;
		MUST(at <= end);
		check_decoded(pair.name, pair.name_length);
		check_decoded(pair.value, pair.value_length);
		count++;
	}
	MUST(count <= urlencoded_count((const char *)bytes, length));
	return 0;
}
