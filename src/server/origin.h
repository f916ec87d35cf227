/*
 * origin - whose page it is that a browser makes a request for.
 *
 * A browser names the page's origin with each upgrade to WebSocket, and asks
 * nobody whether it may (RFC 6455, 10.2): so the server has to look. What is no
 * browser names none, or any. Any thread.
 */
#pragma once
#include <muster/http.h>

enum origin {
	ORIGIN_OWN,    /* none is named, or it is the host that is asked */
	ORIGIN_LISTED, /* in the list */
	ORIGIN_OTHER,
};

/* `origins`: "https://a.example", ..., NULL; or NULL: no list. */
enum origin origin_of(const struct muster_http *http,
		      const char *const *origins);
