/*
 * multipart - reads multipart/form-data (RFC 7578, RFC 2046) as it comes.
 *
 * Zero-copy for the contents of parts: what is told lies in the caller's
 * bytes, or, where a read ended in the middle of what looked like a boundary,
 * in the reader's own. Each byte is looked at a fixed number of times, however
 * the input was cut and whatever it holds. No I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "wire/field.h"

#define MULTIPART_BOUNDARY_BYTES_MAX  70   /* RFC 2046, 5.1.1 */
#define MULTIPART_PART_HEAD_BYTES_MAX 8192 /* the headers of a part */

enum multipart_answer {
	MULTIPART_MORE,     /* all is used; needs more bytes */
	MULTIPART_PART,     /* one begins: see part */
	MULTIPART_DATA,     /* some of its content: see data */
	MULTIPART_PART_END, /* that was all of it */
	MULTIPART_REFUSED,  /* see reason */
};

/* Good until the next call. Texts end with NUL. */
struct multipart_part {
	const char *name;
	/* As sent, but decoded; not to be trusted as a path. NULL: no file. */
	const char *filename;
	const char *type; /* NULL: none was sent */
};

struct multipart {
	/* After the answer. */
	struct multipart_part part;
	const char *data;
	size_t data_length;
	const char *reason; /* static */

	/* The reader's own. */
	uint8_t state;
	uint8_t boundary_length; /* of the delimiter, CR LF included */
	uint8_t matched;         /* bytes of it that came last */
	uint8_t unreal;          /* of those, what was only thought */
	char boundary[MULTIPART_BOUNDARY_BYTES_MAX + 5];
	struct buffer head; /* of the part */
	struct buffer texts;
};

/* Is `type` multipart/form-data, with a boundary that is one? Then the reader
 * is made ready. */
bool multipart_init(struct multipart *reader, const char *type, size_t length);
void multipart_fini(struct multipart *reader); /* of a zeroed one is fine */

/* Reads on, and says in `used` how far it got: call again with the rest. */
__attribute__((warn_unused_result)) enum multipart_answer
multipart_read(struct multipart *reader, const char *bytes, size_t length,
	       size_t *used);
/* Once all has been read: was the last boundary there? */
bool multipart_is_complete(const struct multipart *reader);
