/*
 * cookie - reads the Cookie header, and writes Set-Cookie (RFC 6265).
 *
 * Reading is tolerant, as browsers and proxies are; writing is not, as what is
 * sent wrongly is dropped by a browser without a word. No I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "wire/field.h"

struct cookie_pair {
	struct field_text name;
	struct field_text value; /* without the quotes around it */
};

/* False at the end. What has no name is passed over. */
bool cookie_next(struct field_text *rest, struct cookie_pair *pair);

enum cookie_same_site {
	COOKIE_SAME_SITE_UNSAID,
	COOKIE_SAME_SITE_LAX,
	COOKIE_SAME_SITE_STRICT,
	COOKIE_SAME_SITE_NONE,
};

struct cookie {
	const char *name;
	const char *value;
	const char *path;   /* NULL: left out */
	const char *domain; /* NULL: left out */
	int64_t max_age_s;  /* negative: ends the cookie now */
	bool has_max_age;   /* false: until the browser is closed */
	bool is_secure;
	bool is_http_only;
	enum cookie_same_site same_site;
};

/* What forbids it, in words; NULL: nothing. */
const char *cookie_fault(const struct cookie *cookie);
/* Appends the value of a Set-Cookie header; of one without a fault. */
void cookie_write(const struct cookie *cookie, struct buffer *to);
