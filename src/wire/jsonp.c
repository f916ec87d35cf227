#include "wire/jsonp.h"

static bool is_digit(char byte)
{
	return byte >= '0' && byte <= '9';
}

static bool is_start(char byte)
{
	return ((byte | 32) >= 'a' && (byte | 32) <= 'z') || byte == '_' ||
	       byte == '$';
}

/* Each returns the first byte behind, or NULL where there is none of it. */

static const char *skip_identifier(const char *at, const char *end)
{
	if (at == end || !is_start(*at))
		return NULL;
	while (at < end && (is_start(*at) || is_digit(*at)))
		at++;
	return at;
}

static const char *skip_index(const char *at, const char *end)
{
	const char *first = at;

	while (at < end && is_digit(*at))
		at++;
	return at == first || at == end || *at != ']' ? NULL : at + 1;
}

bool jsonp_is_callback(const char *name, size_t length)
{
	const char *end = name + length;

	if (length == 0 || length > JSONP_NAME_BYTES_MAX)
		return false;
	const char *at = skip_identifier(name, end);

	while (at != NULL && at < end) {
		if (*at == '.')
			at = skip_identifier(at + 1, end);
		else if (*at == '[')
			at = skip_index(at + 1, end);
		else
			return false;
	}
	return at == end;
}
