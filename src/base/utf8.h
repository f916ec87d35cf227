/*
 * utf8 - is this UTF-8, byte after byte, however it is cut?
 *
 * No overlong forms, no surrogates, nothing past U+10FFFF: what cannot become
 * right any more is told at its first wrong byte. A zeroed struct is at the
 * start of a character. Any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct utf8 {
	uint8_t left;    /* bytes of the character that are still to come */
	uint8_t minimum; /* what the next of them may be; the others 80 to BF */
	uint8_t maximum;
};

/* false: it is none, and the struct has no meaning any more. */
bool utf8_feed(struct utf8 *utf8, const void *bytes, size_t length);

/* Does what was fed end with a whole character? */
static inline bool utf8_is_whole(const struct utf8 *utf8)
{
	return utf8->left == 0;
}

/* All of it, at once. */
bool utf8_is_valid(const char *text, size_t length);
/* How many bytes the character that begins there has, of those that are `left`;
 * 0 where it is none. For bytes from 0x80 on. */
size_t utf8_character_bytes(const uint8_t *at, size_t left);
