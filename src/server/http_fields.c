/* Cookies, and what browsers ask before they ask: see http_internal.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "server/http_internal.h"
#include "wire/cookie.h"
#include "wire/jsonp.h"

/* ---- Cookies ---- */

static void add_pair(struct buffer *to, const struct cookie_pair *pair)
{
	buffer_append(to, pair->name.bytes, pair->name.length);
	buffer_append(to, "", 1);
	buffer_append(to, pair->value.bytes, pair->value.length);
	buffer_append(to, "", 1);
}

/* All at once, so that what was given stays where it is. */
static void read_cookies(struct muster_http *http)
{
	http->knows_cookies = true;
	for (size_t i = 0; i < http->head.header_count; i++) {
		const struct http1_header *header = &http->headers[i];
		struct field_text rest = { http->text + header->value.start,
					   header->value.length };
		struct cookie_pair pair;

		if (!http1_is_name(http->text + header->name.start,
				   header->name.length, "Cookie", 6))
			continue;
		while (cookie_next(&rest, &pair))
			add_pair(&http->cookies, &pair);
	}
}

const char *muster_http_cookie(struct muster_http *http, const char *name)
{
	if (!http->knows_cookies)
		read_cookies(http);

	const char *at = (const char *)buffer_bytes(&http->cookies);
	size_t left = buffer_length(&http->cookies);
	const char *end = left > 0 ? at + left : at;

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

static enum cookie_same_site same_site_of(enum muster_http_same_site same_site)
{
	switch (same_site) {
	case MUSTER_HTTP_SAME_SITE_LAX:
		return COOKIE_SAME_SITE_LAX;
	case MUSTER_HTTP_SAME_SITE_STRICT:
		return COOKIE_SAME_SITE_STRICT;
	case MUSTER_HTTP_SAME_SITE_NONE:
		return COOKIE_SAME_SITE_NONE;
	case MUSTER_HTTP_SAME_SITE_UNSAID:
		break;
	}
	return COOKIE_SAME_SITE_UNSAID;
}

int muster_http_set_cookie(struct muster_http *http,
			   const struct muster_http_cookie *cookie)
{
	struct cookie own = {
		.name = cookie->name,
		.value = cookie->value,
		.path = cookie->path,
		.domain = cookie->domain,
		.max_age_s = cookie->max_age_s,
		.has_max_age = cookie->max_age_s != 0,
		.is_secure = cookie->secure,
		.is_http_only = cookie->http_only,
		.same_site = same_site_of(cookie->same_site),
	};

	if (cookie_fault(&own) != NULL)
		return -EINVAL;
	buffer_append_text(&http->fields, "Set-Cookie: ");
	cookie_write(&own, &http->fields);
	buffer_append_text(&http->fields, "\r\n");
	return 0;
}

bool muster_http_is_callback(const char *name)
{
	return jsonp_is_callback(name, strlen(name));
}

/* ---- CORS (Fetch standard, 3.2) ---- */

static bool is_listed(const char *const *origins, const char *origin)
{
	for (; *origins != NULL; origins++)
		if (strcmp(*origins, origin) == 0)
			return true;
	return false;
}

/* What is configured is the application's; what is no header's value is left
 * out. */
static void set(struct muster_http *http, const char *name, const char *value)
{
	if (value != NULL)
		DISCARD(muster_http_set_header(http, name, value));
}

static bool allow_origin(struct muster_http *http,
			 const struct muster_http_cors *cors)
{
	const char *origin = muster_http_header(http, "Origin");

	if (cors->origins == NULL) {
		set(http, "Access-Control-Allow-Origin", "*");
		return true;
	}
	set(http, "Vary", "Origin");
	if (origin == NULL || !is_listed(cors->origins, origin))
		return false;
	set(http, "Access-Control-Allow-Origin", origin);
	if (cors->credentials)
		set(http, "Access-Control-Allow-Credentials", "true");
	return true;
}

static void allow_request(struct muster_http *http,
			  const struct muster_http_cors *cors,
			  const char *methods)
{
	char age[16];

	set(http, "Access-Control-Allow-Methods", methods);
	set(http, "Access-Control-Allow-Headers",
	    cors->headers != NULL
		    ? cors->headers
		    : muster_http_header(http,
					 "Access-Control-Request-Headers"));
	if (cors->max_age_s > 0) {
		DISCARD(snprintf(age, sizeof(age), "%u", cors->max_age_s));
		set(http, "Access-Control-Max-Age", age);
	}
}

int muster_http_cors(struct muster_http *http,
		     const struct muster_http_cors *cors)
{
	static const struct muster_http_cors anybody;

	if (cors == NULL)
		cors = &anybody;
	const char *methods = cors->methods != NULL
				      ? cors->methods
				      : "GET, HEAD, POST, PUT, PATCH, DELETE, "
					"OPTIONS";
	bool is_allowed = allow_origin(http, cors);

	if (strcmp(muster_http_method(http), "OPTIONS") != 0) {
		if (is_allowed)
			set(http, "Access-Control-Expose-Headers",
			    cors->exposed);
		return 0;
	}
	set(http, "Allow", methods);
	if (is_allowed &&
	    muster_http_header(http, "Access-Control-Request-Method") != NULL)
		allow_request(http, cors, methods);
	muster_http_reply(http, 200, NULL, NULL, 0);
	return MUSTER_HTTP_ANSWERED;
}
