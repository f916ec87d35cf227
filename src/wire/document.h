/*
 * document - YAML or JSON as a tree that knows where each thing was written.
 *
 * A value is the text that was written; what it means, a number or a name, is
 * for its reader to say, so that "no" can be both. Aliases are copies, and all
 * there is, copies included, is bounded: a short text cannot become a long
 * document. Refused are names that come twice in one map, tags, more documents
 * than one, and whatever is not UTF-8. Any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/problem.h"

#define DOCUMENT_BYTES_MAX ((size_t)1024 * 1024)
#define DOCUMENT_NODES_MAX 10000
#define DOCUMENT_DEPTH_MAX 32

enum document_kind {
	DOCUMENT_VALUE,
	DOCUMENT_LIST,
	DOCUMENT_MAP,
};

struct document_node {
	enum document_kind kind;
	bool is_quoted;   /* a value that is text, whatever it looks like */
	uint32_t line;    /* from 1; in a map that of its name */
	const char *name; /* in a map; else NULL */
	const char *text; /* of a value; has no NUL within */
	struct document_node *first; /* of a list or a map, in their order */
	struct document_node *next;  /* beside it */
};

/*
 * The tree is in the arena. `source` is what the text is called where it is
 * malformed: "SOURCE:LINE: what". An empty text is an empty map. -EINVAL with
 * *problem filled.
 */
__attribute__((warn_unused_result)) int
document_read(struct arena *arena, const char *source, const char *bytes,
	      size_t length, struct document_node **root,
	      struct problem *problem);

/* NULL: a map has none of that name, or it is no map. */
struct document_node *document_find(const struct document_node *map,
				    const char *name);
/* The same for names with dots between them, from map to map. */
struct document_node *document_find_path(const struct document_node *map,
					 const char *path);
/* ~, null or nothing at all. */
bool document_is_null(const struct document_node *node);

/* A map with all of both: what `over` has counts, and maps that both have are
 * merged the same way. Either is left as it is. */
struct document_node *document_merge(struct arena *arena,
				     const struct document_node *under,
				     const struct document_node *over);
