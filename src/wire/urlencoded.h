/*
 * urlencoded - "a=1&b=2", as a URL's query or a form's body has it (URL
 * standard, application/x-www-form-urlencoded).
 *
 * Zero-copy: pairs are pointers into the caller's text, as sent. What is no
 * pair is passed over ("&&"), a name without "=" has an empty value. No I/O;
 * any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct urlencoded {
	const char *at;
	const char *end;
};

struct urlencoded_pair {
	const char *name;
	size_t name_length;
	const char *value;
	size_t value_length;
};

void urlencoded_init(struct urlencoded *reader, const char *text,
		     size_t length);
/* False at the end. */
bool urlencoded_next(struct urlencoded *reader, struct urlencoded_pair *pair);
/* No text of that length has more. */
size_t urlencoded_count(const char *text, size_t length);

/* What "%41" and "+" stand for; needs no more room than it is given, and may
 * decode in place. What is no escape stays as sent, and "%00", which would end
 * the text, as well. Returns the length. */
size_t urlencoded_decode(char *to, const char *from, size_t length);
/* The same for a path, in which "+" is a plus. `has_nul`: there was "%00". */
size_t urlencoded_decode_path(char *to, const char *from, size_t length,
			      bool *has_nul);
