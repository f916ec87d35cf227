/* What the files of src/loop share: the libuv loop itself. */
#pragma once
#include <uv.h>

#include "loop/loop.h"

uv_loop_t *loop_uv(struct loop *loop);
