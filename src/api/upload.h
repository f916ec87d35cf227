/*
 * upload - keeps what a client sent, which is in a file without a name, as one
 * with a name. Blocks. No state; any thread.
 */
#pragma once
#include <stdint.h>

/* A file of that path, which must not exist (-EEXIST); mode 0600. On the same
 * file system that is a link, else a copy, of which nothing is left where it
 * fails. The descriptor's offset stays. */
__attribute__((warn_unused_result)) int
upload_keep(int descriptor, uint64_t length, const char *path);
