/*
 * field - what the values of headers consist of: lists, parameters, quoted
 * strings, qualities (RFC 9110, 5.6).
 *
 * Zero-copy, and tolerant: what cannot be read is passed over or is an absent
 * value, never a failure. The values come from http1, so they hold no NUL and
 * no other control character but the tab. No I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct field_text {
	const char *bytes;
	size_t length;
};

/* In any case? */
bool field_is(struct field_text text, const char *word);
struct field_text field_trim(const char *start, const char *end);

/* The next element of a list, trimmed: up to a comma that is in no quoted
 * string. Empty ones are passed over. False at the end. */
bool field_next_element(struct field_text *rest, struct field_text *element);

/* Cuts the word before the first ";" off, trimmed: "text/html" of
 * "text/html; charset=utf-8". `rest` is left with the parameters. */
struct field_text field_take_word(struct field_text *rest);

struct field_parameter {
	struct field_text name;
	struct field_text value; /* as sent, without the quotes */
	bool is_quoted;
};

/* The next of "; name=value; name="quoted \" value"". False at the end. */
bool field_next_parameter(struct field_text *rest,
			  struct field_parameter *parameter);
/* What a quoted value stands for; `to` has room for its length. Returns the
 * length. A backslash escapes a quote and itself only, as some clients send
 * the paths of files with bare ones. */
size_t field_unquote(char *to, const struct field_parameter *parameter);

/* How much an element of Accept-Encoding and its like is wanted, 0 to 1000:
 * its parameter q. 1000 where there is none, 0 where it is malformed. */
int field_quality(struct field_text parameters);

/* Accept-Encoding (RFC 9110, 12.5.3): how much `coding` is wanted, 0 to 1000,
 * by its name or by "*". */
int field_coding_quality(const char *value, size_t length, const char *coding);
