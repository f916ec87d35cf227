/* store_request - the shapes of requests: what in them is checked, and how one
 * is copied with all that it points to. */
#pragma once
#include "store/store_internal.h"

/* Fails with a negative code and *problem filled. */
__attribute__((warn_unused_result)) int
store_request_check(const struct store *store, enum store_operation operation,
		    const void *request, struct problem *problem);

const void *store_request_copy(struct arena *arena,
			       enum store_operation operation,
			       const void *request);
/* The memory a copy takes. */
size_t store_request_size(enum store_operation operation, const void *request);
