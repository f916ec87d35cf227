/* Who asks: see web_internal.h. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/must.h"
#include "server/web_internal.h"
#include "wire/cookie.h"

#define NEW_BYTES 20 /* 40 digits */

static void fill(struct web *web)
{
	web->random_left = 0;
	while (web->random_left < sizeof(web->random)) {
		ssize_t got =
			getrandom(web->random + web->random_left,
				  sizeof(web->random) - web->random_left, 0);

		MUST(got > 0 || errno == EINTR);
		web->random_left += got > 0 ? (size_t)got : 0;
	}
}

/* Asked of the kernel in blocks: a system call costs more than an answer. What
 * was given is wiped, so that memory does not tell earlier sessions. */
void web_random(struct web *web, void *bytes, size_t length)
{
	MUST(length <= 256);
	if (web->random_left < length) {
		fill(web);
	}
	web->random_left -= length;
	memcpy(bytes, web->random + web->random_left, length);
	explicit_bzero(web->random + web->random_left, length);
}

static char *put_digits(char *to, const uint8_t *bytes, size_t length)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++) {
		*to++ = digits[bytes[i] >> 4];
		*to++ = digits[bytes[i] & 15];
	}
	return to;
}

/* A UUID of version 4 (RFC 9562). */
static void make_message(struct web_request *request)
{
	uint8_t bytes[16];
	char *to = request->message;

	web_random(request->web, bytes, sizeof(bytes));
	bytes[6] = (uint8_t)((bytes[6] & 0x0f) | 0x40);
	bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
	to = put_digits(to, bytes, 4);
	*to++ = '-';
	to = put_digits(to, bytes + 4, 2);
	*to++ = '-';
	to = put_digits(to, bytes + 6, 2);
	*to++ = '-';
	to = put_digits(to, bytes + 8, 2);
	*to++ = '-';
	to = put_digits(to, bytes + 10, 6);
	*to = '\0';
}

/* What we can have given, and what other servers of this kind give. */
static const bool is_of_fingerprint[256] = {
	['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
	['-'] = true,         ['_'] = true,
};

static bool is_fingerprint(struct field_text text)
{
	bool is_good = text.length > 0 && text.length <= WEB_FINGERPRINT_MAX;

	for (size_t i = 0; is_good && i < text.length; i++)
		is_good = is_of_fingerprint[(uint8_t)text.bytes[i]];
	return is_good;
}

static bool find_cookie(const struct web_request *request,
			struct field_text *value)
{
	const struct muster_http *http = request->http;
	const char *name = request->web->settings.cookie;
	size_t length = strlen(name);

	for (size_t i = 0; i < http->head.header_count; i++) {
		const struct http1_header *header = &http->headers[i];
		struct field_text rest = { http->text + header->value.start,
					   header->value.length };
		struct cookie_pair pair;

		if (!http1_is_name(http->text + header->name.start,
				   header->name.length, "Cookie", 6))
			continue;
		while (cookie_next(&rest, &pair)) {
			if (pair.name.length != length ||
			    memcmp(pair.name.bytes, name, length) != 0)
				continue;
			*value = pair.value;
			return is_fingerprint(pair.value);
		}
	}
	return false;
}

static void make_id(struct web_request *request, size_t length)
{
	request->fingerprint[length] = '\0';
	request->fingerprint_length = length;
	memcpy(request->id, request->fingerprint, length);
	request->id[length] = '-';
	memcpy(request->id + length + 1, request->message,
	       sizeof(request->message));
}

void web_session_make(struct web_request *request)
{
	uint8_t bytes[NEW_BYTES];

	make_message(request);
	web_random(request->web, bytes, sizeof(bytes));
	put_digits(request->fingerprint, bytes, sizeof(bytes));
	make_id(request, 2 * sizeof(bytes));
	request->is_new = true;
}

void web_session_begin(struct web_request *request)
{
	struct field_text value;

	if (!find_cookie(request, &value)) {
		web_session_make(request);
		return;
	}
	make_message(request);
	memcpy(request->fingerprint, value.bytes, value.length);
	make_id(request, value.length);
	request->is_new = false;
}
