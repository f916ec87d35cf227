/*
 * notify - hears what workers say on NOTIFY_SOCKET.
 *
 * systemd's protocol (sd_notify(3)), which programs in any language speak:
 * READY=1, STOPPING=1, STATUS=TEXT, WATCHDOG=1, one a line. The socket is in
 * the abstract name space and so leaves no file behind. The kernel vouches for
 * the sender's pid: what no worker sent is dropped.
 */
#pragma once
#include <stdint.h>
#include <sys/types.h>

#include "loop/loop.h"

struct notify;

struct notify_events {
	void (*on_ready)(void *owner, pid_t pid);
	void (*on_stopping)(void *owner, pid_t pid);
	/* Anything at all, WATCHDOG=1 among it: it is alive. */
	void (*on_alive)(void *owner, pid_t pid);
};

/* NULL where the socket cannot be had, which is logged: workers then find no
 * NOTIFY_SOCKET. */
struct notify *notify_open(struct loop *loop,
			   const struct notify_events *events, void *owner);
void notify_close(struct notify *notify); /* NULL is fine */

/* The value of NOTIFY_SOCKET: "@NAME". */
const char *notify_name(const struct notify *notify);
