/* What the files of src/loop share: the libuv loop itself. */
#pragma once
#include <uv.h>

#include "loop/loop.h"

uv_loop_t *loop_uv(struct loop *loop);

/* A handle that polls was started or changed. libuv tells the kernel when it
 * next polls, so whoever waits on loop_descriptor() must turn once more. */
void loop_touch(struct loop *loop);

/* The memory that fdstream reads into: not loop_scratch(), as what it brings is
 * read at once. */
uint8_t *loop_fdstream_scratch(struct loop *loop);
