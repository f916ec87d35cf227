#include "wire/cookie.h"

#include <inttypes.h>
#include <string.h>

#include "wire/http1.h"

/* Name, value and attributes together: what browsers are to hold (RFC 6265,
 * 6.1). */
#define COOKIE_BYTES_MAX 4096

static bool split(struct field_text text, struct cookie_pair *pair)
{
	const char *end = text.bytes + text.length;
	const char *equals =
		text.length > 0 ? memchr(text.bytes, '=', text.length) : NULL;

	if (equals == NULL)
		return false;
	pair->name = field_trim(text.bytes, equals);
	pair->value = field_trim(equals + 1, end);
	if (pair->value.length >= 2 && pair->value.bytes[0] == '"' &&
	    pair->value.bytes[pair->value.length - 1] == '"') {
		pair->value.bytes++;
		pair->value.length -= 2;
	}
	return pair->name.length > 0;
}

bool cookie_next(struct field_text *rest, struct cookie_pair *pair)
{
	/* A quote begins no string here: a ";" ends the pair anyway. */
	while (rest->length > 0)
		if (split(field_take_word(rest), pair))
			return true;
	return false;
}

/* ---- Set-Cookie ---- */

/* RFC 6265, 4.1.1: cookie-octet, and the quotes around all of it. */
static bool is_value(const char *value)
{
	size_t length = strlen(value);

	if (length >= 2 && value[0] == '"' && value[length - 1] == '"') {
		value++;
		length -= 2;
	}
	for (size_t i = 0; i < length; i++)
		if (value[i] <= ' ' || value[i] >= 0x7f ||
		    strchr("\",;\\", value[i]) != NULL)
			return false;
	return true;
}

static bool is_attribute(const char *value)
{
	for (; *value != 0; value++)
		if (*value < ' ' || *value >= 0x7f || *value == ';')
			return false;
	return true;
}

static bool is_domain(const char *domain)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";

	return *domain != 0 && domain[strspn(domain, letters)] == 0;
}

static bool begins_with(const char *text, const char *start)
{
	size_t length = strlen(start);

	return strlen(text) >= length &&
	       http1_is_name(text, length, start, length);
}

static size_t length_of(const char *text)
{
	return text != NULL ? strlen(text) : 0;
}

/* RFC 6265bis, 4.1.3: browsers drop what breaks the promise of its name. */
static const char *name_fault(const struct cookie *cookie)
{
	bool is_host = begins_with(cookie->name, "__Host-");

	if (!is_host && !begins_with(cookie->name, "__Secure-"))
		return NULL;
	if (!cookie->is_secure)
		return "a name with that prefix needs Secure";
	if (is_host && (cookie->domain != NULL || cookie->path == NULL ||
			strcmp(cookie->path, "/") != 0))
		return "__Host- needs the path / and no domain";
	return NULL;
}

const char *cookie_fault(const struct cookie *cookie)
{
	if (cookie->name == NULL ||
	    !http1_is_token(cookie->name, strlen(cookie->name)))
		return "the name is no token";
	if (cookie->value == NULL || !is_value(cookie->value))
		return "the value holds what a cookie must not";
	if (cookie->path != NULL &&
	    (*cookie->path != '/' || !is_attribute(cookie->path)))
		return "the path is none";
	if (cookie->domain != NULL && !is_domain(cookie->domain))
		return "the domain is none";
	if (cookie->same_site == COOKIE_SAME_SITE_NONE && !cookie->is_secure)
		return "SameSite=None needs Secure";
	if (strlen(cookie->name) + strlen(cookie->value) +
		    length_of(cookie->path) + length_of(cookie->domain) >
	    COOKIE_BYTES_MAX)
		return "it is too long for a browser to keep";
	return name_fault(cookie);
}

void cookie_write(const struct cookie *cookie, struct buffer *to)
{
	static const char *const same_sites[] = {
		[COOKIE_SAME_SITE_UNSAID] = "",
		[COOKIE_SAME_SITE_LAX] = "; SameSite=Lax",
		[COOKIE_SAME_SITE_STRICT] = "; SameSite=Strict",
		[COOKIE_SAME_SITE_NONE] = "; SameSite=None",
	};

	buffer_append_format(to, "%s=%s", cookie->name, cookie->value);
	if (cookie->path != NULL)
		buffer_append_format(to, "; Path=%s", cookie->path);
	if (cookie->domain != NULL)
		buffer_append_format(to, "; Domain=%s", cookie->domain);
	if (cookie->has_max_age)
		buffer_append_format(to, "; Max-Age=%" PRId64,
				     cookie->max_age_s > 0 ? cookie->max_age_s
							   : 0);
	if (cookie->is_secure)
		buffer_append_text(to, "; Secure");
	if (cookie->is_http_only)
		buffer_append_text(to, "; HttpOnly");
	buffer_append_text(to, same_sites[cookie->same_site]);
}
