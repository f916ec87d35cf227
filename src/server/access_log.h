/*
 * access_log - a line for each request, in a file.
 *
 * Lines gather in memory and are appended by another thread, many in one
 * write(2) of whole lines, so that those of several processes do not mix.
 * Whoever serves never waits for the disk: what finds no room is dropped, and
 * how much that was is logged. A file that was moved away is opened anew.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include <muster/http.h>

#include "base/problem.h"
#include "loop/loop.h"

struct access_log;

struct access_text {
	const char *bytes; /* NULL: there is none */
	uint32_t length;
};

struct access_line {
	const char *client;        /* "": not known */
	struct access_text method; /* NULL: what came was no request */
	struct access_text target;
	struct access_text referer;
	struct access_text agent;
	int minor_version;
	bool is_http2;
	int status;
	uint64_t body_bytes;
	uint64_t took_ms;
};

/* -errno: the file cannot be written. A FIFO must have a reader. */
__attribute__((warn_unused_result)) int
access_log_open(struct loop *loop, const char *path,
		enum muster_http_log_format format, struct problem *problem,
		struct access_log **log);
/* What has been told is still written. NULL is fine. */
void access_log_close(struct access_log *log);

void access_log_put(struct access_log *log, const struct access_line *line);
