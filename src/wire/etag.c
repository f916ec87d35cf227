#include "wire/etag.h"

#include <string.h>

/* Behind the tag that begins at `at`, or NULL. `*opaque`: its quote. */
static const char *skip_tag(const char *at, const char *end,
			    const char **opaque)
{
	if (end - at >= 2 && at[0] == 'W' && at[1] == '/')
		at += 2;
	*opaque = at;
	if (at == end || *at != '"')
		return NULL;
	for (at++; at < end && *at != '"'; at++)
		if ((unsigned char)*at <= ' ' || *at == 0x7f)
			return NULL;
	return at < end ? at + 1 : NULL;
}

bool etag_is(const char *text, size_t length)
{
	const char *opaque;

	return length > 0 &&
	       skip_tag(text, text + length, &opaque) == text + length;
}

static const char *skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t' || *at == ','))
		at++;
	return at;
}

bool etag_is_listed(const char *list, size_t length, const char *tag,
		    bool is_strong)
{
	const char *at = list;
	const char *end = list + length;
	bool is_weak = tag[0] == 'W';
	const char *wanted = is_weak ? tag + 2 : tag;
	size_t wanted_length = strlen(wanted);

	at = skip_blanks(at, end);
	if (end - at == 1 && *at == '*')
		return true;
	while (at < end) {
		const char *start = at;
		const char *opaque;

		at = skip_tag(at, end, &opaque);
		if (at == NULL)
			return false;
		if ((size_t)(at - opaque) == wanted_length &&
		    memcmp(opaque, wanted, wanted_length) == 0 &&
		    !(is_strong && (is_weak || opaque != start)))
			return true;
		at = skip_blanks(at, end);
	}
	return false;
}
