/*
 * files - answers requests with files below a folder.
 *
 * Nothing outside of the folder is reachable, whatever a path or a symbolic
 * link says: the kernel resolves it (openat2(2), RESOLVE_BENEATH). Where it
 * cannot, no symbolic link is followed at all.
 *
 * What was found is kept, bounded, and trusted for a moment; then it is opened
 * anew and compared. Contents of small files are kept in memory, larger ones
 * are sent from the page cache (sendfile(2)). So a file is to be replaced by
 * rename(2), not written in place, if each reply is to be of one piece.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include <muster/http.h>

#include "base/problem.h"
#include "loop/loop.h"

struct files;

/* -ENOENT and the like: the folder cannot be opened. */
__attribute__((warn_unused_result)) int
files_open(struct loop *loop, const struct muster_http_files_options *options,
	   struct problem *problem, struct files **files);
/* What is on its way still goes out. NULL is fine. */
void files_close(struct files *files);

/* `path`: below the folder, or NULL: that of the request. 0: `http` is gone; or
 * MUSTER_HTTP_NO_FILE. */
int files_reply(struct files *files, struct muster_http *http,
		const char *path);
