/*
 * cache_file - the lines of a dumped cache, as JSON texts and back.
 *
 *	{"muster":"cache","version":1,"created":1795183911965}
 *	{"key":"a","value":"x","type":"text/plain","created":…,"expires":…}
 *	{"key":"n","counter":"5"}
 *	{"key":"l","list":["x",{"base64":"AP8="}],"expires":…}
 *	{"key":"l","more":["y"],"expires":…}
 *	{"end":3}
 *
 * Bytes that are not UTF-8 are {"base64": …}. A long list goes on in lines of
 * its own, which follow each other. The last line says how many keys there are.
 * Unknown members are refused: a later format has another version. No I/O; any
 * thread.
 */
#pragma once
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/problem.h"
#include "store/store_types.h"

#define CACHE_FILE_VERSION 1
/* Of values in a line, so that a list of large ones can be read again. */
#define CACHE_FILE_LIST_BYTES ((size_t)64 * 1024)

void cache_file_write_head(struct buffer *buffer, uint64_t created_ms);
/* Of a list as many lines as it takes. */
void cache_file_write_entry(struct buffer *buffer,
			    const struct store_cache_entry *entry);
void cache_file_write_end(struct buffer *buffer, uint64_t count);

enum cache_line {
	CACHE_LINE_ENTRY,
	CACHE_LINE_END, /* nothing follows it */
};

/* Reads the lines of a file in their order. Zeroed, it is at the first. */
struct cache_reader {
	size_t value_bytes_max;
	uint64_t line;  /* the number of the last one */
	uint64_t count; /* of keys so far */
	char *list_key; /* of the list that may go on; NULL: none */
	bool has_ended;
};

/* CACHE_LINE_ENTRY with *entry in the arena (not for the first line, which has
 * CACHE_LINE_ENTRY without a key); CACHE_LINE_END; or -EBADMSG, -EMSGSIZE,
 * -EINVAL with a problem. */
__attribute__((warn_unused_result)) int
cache_reader_take(struct cache_reader *reader, struct store_bytes bytes,
		  struct arena *arena, struct store_cache_entry *entry,
		  struct problem *problem);
void cache_reader_fini(struct cache_reader *reader);
