/* gzip - packs a whole content (RFC 1952). Any thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"

/* Fastest to smallest. */
#define GZIP_LEVEL_SENT 1 /* while a client waits */
#define GZIP_LEVEL_KEPT 6

/* Appends it. False, and nothing of use is there: it would not become smaller
 * by a twentieth at least. */
bool gzip_pack(const void *bytes, size_t length, int level, struct buffer *to);
