/*
 * web - actions served over HTTP: a request becomes one of the api's, and its
 * answer a JSON object with what is known of server and client behind it.
 *
 * /api/ACTION and /api?action=ACTION, the application's routes before them;
 * /healthz, /readyz, /metrics and /openapi.json; /ws and /primus; static files
 * where nothing else is. See contract and docs/architecture.md for who answers
 * what.
 *
 * One for a worker, used by its loop. It is made before the server that calls
 * it and freed after that.
 */
#pragma once
#include <muster/http.h>

#include "api/api.h"
#include "api/router.h"
#include "server/files.h"
#include "server/http.h"

struct web;

struct web_settings {
	struct api *api;
	const char *name;           /* serverName; not copied, as all here */
	const char *version;        /* apiVersion */
	const char *cookie;         /* NULL: "sessionID" */
	const char *const *origins; /* who may read answers; NULL: anybody */
	const struct muster_route *routes;
	struct files *files;  /* NULL: none are served */
	uint64_t body_bytes;  /* the server's limit; 0: an action's alone */
	uint32_t client_rate; /* actions a second; 0: any number */
	uint32_t client_burst;
	bool no_server_information;
	bool no_requester_information;
	/* /ws, and /primus, for whoever speaks WebSocket: `http` is its own.
	 * Not after web_close(). NULL: there is nothing at these paths. */
	void (*on_upgrade)(struct muster_http *http, bool is_primus,
			   void *owner);
	/* What all workers have counted; NULL: this one has, alone. */
	uint64_t (*sum)(void *owner, size_t meter);
	/* Is the worker leaving? May be NULL. */
	bool (*is_draining)(void *owner);
	void *owner;
};

/* NULL with *problem filled: a route that cannot be one. */
struct web *web_new(const struct web_settings *settings,
		    struct problem *problem);
/* Requests that are still with actions are forgotten. NULL is fine. */
void web_free(struct web *web);

/* A muster_http_fn whose `arg` is the web. */
void web_handle(struct muster_http *http, void *arg);

/* Before the body of a request: a muster_http_fn and an http_wants_head_fn. */
void web_on_head(struct muster_http *http, void *arg);
bool web_wants_head(const struct muster_http *http, void *arg);

/* The worker is leaving: streams of events end, as nothing else would end them.
 * `owner` is the web. */
void web_drain(void *owner);

/* From now on requests are answered with 503: the node is going. */
void web_close(struct web *web);

/* Answers what on_upgrade() got, and what is not to be what it asks for, as all
 * else that is refused: `http` is gone when this returns. `owner` is the web.
 */
void web_refuse_upgrade(struct muster_http *http, int status, const char *why,
			void *owner);

/* An http_refuse_fn whose `arg` is the web. */
void web_refuse(struct muster_http *http, int status, const char *reason,
		struct buffer *body, void *arg);
