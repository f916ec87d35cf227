/*
 * router - which action a method and a path mean, by the application's routes.
 *
 * Made once at the start, checked, then only read. The first route of the list
 * that fits counts. Literal segments are compared without case; a path may end
 * with a slash or not.
 */
#pragma once
#include <muster/action.h>

#include "api/actions.h"
#include "api/params.h"
#include "base/problem.h"

enum router_method {
	ROUTER_GET = 1,
	ROUTER_HEAD = 2,
	ROUTER_POST = 4,
	ROUTER_PUT = 8,
	ROUTER_PATCH = 16,
	ROUTER_DELETE = 32,
};
#define ROUTER_METHODS 6
#define ROUTER_ANY     ((1U << ROUTER_METHODS) - 1)

/* 0: none of them. */
unsigned router_method_of(const char *text, size_t length);
/* "GET, HEAD" of bits; returns the length. */
size_t router_methods_write(unsigned methods, char *to, size_t size);

struct router;

/* `routes` ends with one that has no path, is not copied, and may be NULL. NULL
 * with *problem filled: a path that is none, an unknown method or action. */
struct router *router_new(const struct muster_route *routes,
			  const struct actions *actions,
			  struct problem *problem);
void router_free(struct router *router); /* NULL is fine */

enum router_answer {
	ROUTER_FOUND = 0,
	ROUTER_NO_PATH,
	ROUTER_NO_METHOD, /* *methods: those that the path has */
};

/* What the path captures is set in `params`, percent-decoded. `path` is as it
 * was sent, and lasts as long as they. */
enum router_answer router_find(const struct router *router, unsigned method,
			       const char *path, size_t length,
			       struct params *params,
			       const struct muster_route **found,
			       unsigned *methods);
