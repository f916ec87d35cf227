/*
 * line - bytes in, lines out: ended by "\n" or "\r\n", however they are cut,
 * and not longer than they may be.
 *
 * A line that came whole is told where it stands. Between lines a reader holds
 * no memory.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"

struct line_reader {
	struct buffer partial; /* the beginning of one */
	size_t length_max;     /* without its end */
	bool was_told;         /* `partial` is to be emptied */
};

void line_reader_fini(struct line_reader *reader);

/* Good until the next line_read(). */
struct line {
	const char *text;
	size_t length; /* without its end */
};

/* Moves `bytes` behind a line. 1: there is one; 0: more are needed, all was
 * read; -EMSGSIZE: it is longer than it may be. */
__attribute__((warn_unused_result)) int line_read(struct line_reader *reader,
						  const uint8_t **bytes,
						  size_t *length,
						  struct line *line);

/* Has nothing of a line come? */
static inline bool line_is_between(const struct line_reader *reader)
{
	return reader->was_told || buffer_length(&reader->partial) == 0;
}

/* Is this, as a whole that came at once, Ctrl-C of a telnet, or Ctrl-D? */
bool line_is_interrupt(const uint8_t *bytes, size_t length);
