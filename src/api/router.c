#include "api/router.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/urlencoded.h"

#define SEGMENTS_MAX 64

enum kind {
	LITERAL,
	CAPTURE,
	REST, /* the last one: whatever follows, also nothing */
};

struct segment {
	enum kind kind;
	char *text; /* of a literal, or the name; "" captures nothing */
	size_t length;
	bool has_pattern;
	regex_t pattern;
};

struct route {
	const struct muster_route *given;
	unsigned methods;
	struct segment *segments;
	size_t count;
};

struct router {
	struct route *routes;
	size_t count;
};

static const struct {
	const char *name;
	unsigned bit;
} methods_known[ROUTER_METHODS] = {
	{ "GET", ROUTER_GET },     { "HEAD", ROUTER_HEAD },
	{ "POST", ROUTER_POST },   { "PUT", ROUTER_PUT },
	{ "PATCH", ROUTER_PATCH }, { "DELETE", ROUTER_DELETE },
};

unsigned router_method_of(const char *text, size_t length)
{
	for (size_t i = 0; i < ROUTER_METHODS; i++)
		if (strncmp(methods_known[i].name, text, length) == 0 &&
		    methods_known[i].name[length] == '\0')
			return methods_known[i].bit;
	return 0;
}

size_t router_methods_write(unsigned methods, char *to, size_t size)
{
	size_t length = 0;

	MUST(size > 0);
	to[0] = '\0';
	for (size_t i = 0; i < ROUTER_METHODS; i++) {
		if ((methods & methods_known[i].bit) == 0)
			continue;
		int added =
			snprintf(to + length, size - length, "%s%s",
				 length > 0 ? ", " : "", methods_known[i].name);

		MUST(added > 0 && (size_t)added < size - length);
		length += (size_t)added;
	}
	return length;
}

/* ---- a route of the application's ---- */

static int refuse(const struct muster_route *given, const char *why,
		  struct problem *problem)
{
	return problem_set(problem, -EINVAL, "ROUTE_INVALID",
			   "the route '%.80s' cannot be one: %s", given->path,
			   why);
}

/* Where the segment ends: at a slash that is in no parentheses. */
static size_t segment_length(const char *at)
{
	size_t length = 0;
	int depth = 0;

	for (; at[length] != '\0' && (at[length] != '/' || depth > 0);
	     length++) {
		if (at[length] == '\\' && at[length + 1] != '\0')
			length++;
		else if (at[length] == '(')
			depth++;
		else if (at[length] == ')')
			depth--;
	}
	return length;
}

static bool is_name(const char *text, size_t length)
{
	return length > 0 && length <= 128 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
			    "YZ0123456789._-") >= length;
}

static void set_text(struct segment *segment, const char *text, size_t length)
{
	segment->text = mem_alloc(length + 1);
	memcpy(segment->text, text, length);
	segment->text[length] = '\0';
	segment->length = length;
}

/* ":name" or ":name(pattern)". */
static int read_capture(const struct muster_route *given,
			struct segment *segment, const char *at, size_t length,
			struct problem *problem)
{
	size_t name = strcspn(at + 1, "(/");
	char *pattern;

	if (name > length - 1)
		name = length - 1;
	if (!is_name(at + 1, name))
		return refuse(given, "':' needs a name", problem);
	segment->kind = CAPTURE;
	set_text(segment, at + 1, name);
	if (name == length - 1)
		return 0;
	if (at[length - 1] != ')')
		return refuse(given, "there is no ')' to its '('", problem);
	/* The whole segment is to fit. */
	pattern =
		mem_format("^(%.*s)$", (int)(length - name - 3), at + name + 2);
	segment->has_pattern = regcomp(&segment->pattern, pattern,
				       REG_EXTENDED | REG_NOSUB) == 0;
	free(pattern);
	if (!segment->has_pattern)
		return refuse(given, "what is in '()' is no regular expression",
			      problem);
	return 0;
}

static int read_segment(const struct muster_route *given,
			struct segment *segment, const char *at, size_t length,
			struct problem *problem)
{
	if (length == 0)
		return refuse(given, "a segment is empty", problem);
	if (at[0] == ':')
		return read_capture(given, segment, at, length, problem);
	if (at[0] != '*') {
		set_text(segment, at, length);
		return 0;
	}
	segment->kind = REST;
	set_text(segment, at + 1, length - 1);
	if (at[length] != '\0')
		return refuse(given, "'*' is not its end", problem);
	if (length > 1 && !is_name(at + 1, length - 1))
		return refuse(given, "that cannot be a name", problem);
	return 0;
}

static int read_path(struct route *route, struct problem *problem)
{
	const char *at = route->given->path;

	if (*at++ != '/')
		return refuse(route->given, "it does not begin with '/'",
			      problem);
	route->segments = mem_zalloc(SEGMENTS_MAX * sizeof(*route->segments));
	while (*at != '\0') {
		size_t length = segment_length(at);

		if (route->count == SEGMENTS_MAX)
			return refuse(route->given, "it is too long", problem);
		int error = read_segment(route->given,
					 &route->segments[route->count++], at,
					 length, problem);

		if (error < 0)
			return error;
		at += length;
		if (*at == '/')
			at++;
	}
	return 0;
}

static int read_methods(struct route *route, struct problem *problem)
{
	const char *method = route->given->method;

	route->methods = method == NULL
				 ? ROUTER_ANY
				 : router_method_of(method, strlen(method));
	if (route->methods == 0)
		return refuse(route->given, "its method is none", problem);
	if (route->methods == ROUTER_GET)
		route->methods |= ROUTER_HEAD;
	return 0;
}

static int check_action(const struct route *route,
			const struct actions *actions, struct problem *problem)
{
	const char *name = route->given->action;

	if (name != NULL && actions_find(actions, name, strlen(name),
					 route->given->version) != NULL)
		return 0;
	return problem_set(problem, -EINVAL, "ROUTE_INVALID",
			   "the route '%.80s' leads to '%.80s' version %u, "
			   "which is no action",
			   route->given->path, name == NULL ? "" : name,
			   route->given->version);
}

struct router *router_new(const struct muster_route *routes,
			  const struct actions *actions,
			  struct problem *problem)
{
	struct router *router = mem_zalloc(sizeof(*router));
	size_t count = 0;

	while (routes != NULL && routes[count].path != NULL)
		count++;
	router->routes = mem_zalloc((count + 1) * sizeof(*router->routes));
	for (size_t i = 0; i < count; i++) {
		struct route *route = &router->routes[router->count++];

		route->given = &routes[i];
		if (read_methods(route, problem) < 0 ||
		    read_path(route, problem) < 0 ||
		    check_action(route, actions, problem) < 0) {
			router_free(router);
			return NULL;
		}
	}
	return router;
}

static void free_route(struct route *route)
{
	for (size_t i = 0; i < route->count; i++) {
		free(route->segments[i].text);
		if (route->segments[i].has_pattern)
			regfree(&route->segments[i].pattern);
	}
	free(route->segments);
}

void router_free(struct router *router)
{
	if (router == NULL)
		return;
	for (size_t i = 0; i < router->count; i++)
		free_route(&router->routes[i]);
	free(router->routes);
	free(router);
}

/* ---- a request ---- */

struct piece {
	const char *text; /* decoded, followed by a NUL */
	size_t length;
	const char *start; /* as it was sent */
};

struct pieces {
	struct piece list[SEGMENTS_MAX];
	size_t count;
	const char *end; /* of the path, without a last slash */
};

static const char *decode(struct arena *arena, const char *start, size_t length,
			  size_t *decoded, bool *has_nul)
{
	char *to = arena_take(arena, length + 1);
	bool is_ended = false;

	*decoded = urlencoded_decode_path(to, start, length, &is_ended);
	to[*decoded] = '\0';
	*has_nul = *has_nul || is_ended;
	return to;
}

/* false: no route has such a path. */
static bool split(struct pieces *pieces, const char *path, size_t length,
		  struct arena *arena)
{
	const char *at = path + 1;
	bool has_nul = false;

	if (length == 0 || path[0] != '/')
		return false;
	pieces->count = 0;
	pieces->end = path + length;
	if (length > 1 && pieces->end[-1] == '/')
		pieces->end--;
	while (at < pieces->end) {
		const char *end = memchr(at, '/', (size_t)(pieces->end - at));

		if (end == NULL)
			end = pieces->end;
		if (pieces->count == SEGMENTS_MAX)
			return false;
		struct piece *piece = &pieces->list[pieces->count++];

		piece->start = at;
		piece->text = decode(arena, at, (size_t)(end - at),
				     &piece->length, &has_nul);
		at = end + 1;
	}
	return !has_nul;
}

static bool fits(const struct segment *segment, const struct piece *piece)
{
	if (segment->kind == LITERAL)
		return segment->length == piece->length &&
		       strncasecmp(segment->text, piece->text, piece->length) ==
			       0;
	if (piece->length == 0)
		return false;
	return !segment->has_pattern ||
	       regexec(&segment->pattern, piece->text, 0, NULL, 0) == 0;
}

static bool fits_path(const struct route *route, const struct pieces *pieces)
{
	bool has_rest = route->count > 0 &&
			route->segments[route->count - 1].kind == REST;
	size_t fixed = route->count - has_rest;

	if (has_rest ? pieces->count < fixed : pieces->count != fixed)
		return false;
	for (size_t i = 0; i < fixed; i++)
		if (!fits(&route->segments[i], &pieces->list[i]))
			return false;
	return true;
}

static void set(struct params *params, const struct segment *segment,
		const char *text, size_t length)
{
	struct param param = { .name = segment->text,
			       .name_length = segment->length,
			       .text = text,
			       .length = length };

	if (segment->length > 0) /* the first params there are: it has room */
		MUST(params_set(params, &param) == 0);
}

static void capture(const struct route *route, const struct pieces *pieces,
		    struct params *params)
{
	for (size_t i = 0; i < route->count; i++) {
		const struct segment *segment = &route->segments[i];
		bool has_nul = false; /* it has not: see split() */
		size_t length = 0;
		const char *text = "";

		if (segment->kind == REST && i < pieces->count) {
			const char *start = pieces->list[i].start;

			text = decode(params->arena, start,
				      (size_t)(pieces->end - start), &length,
				      &has_nul);
		} else if (segment->kind == CAPTURE) {
			/* NOLINTNEXTLINE: split() has filled as many */
			text = pieces->list[i].text;
			length = pieces->list[i].length;
		}
		if (segment->kind != LITERAL)
			set(params, segment, text, length);
	}
}

enum router_answer router_find(const struct router *router, unsigned method,
			       const char *path, size_t length,
			       struct params *params,
			       const struct muster_route **found,
			       unsigned *methods)
{
	struct pieces pieces;

	*methods = 0;
	if (router->count == 0 || !split(&pieces, path, length, params->arena))
		return ROUTER_NO_PATH;
	for (size_t i = 0; i < router->count; i++) {
		const struct route *route = &router->routes[i];

		if (!fits_path(route, &pieces))
			continue;
		*methods |= route->methods;
		if ((route->methods & method) == 0)
			continue;
		capture(route, &pieces, params);
		*found = route->given;
		return ROUTER_FOUND;
	}
	return *methods == 0 ? ROUTER_NO_PATH : ROUTER_NO_METHOD;
}
