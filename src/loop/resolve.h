/* resolve - finds a host's addresses without blocking the loop. */
#pragma once
#include <sys/socket.h>

#include "loop/loop.h"

struct resolve;

/* `length` 0: it failed with `error`, a negative code. The address is good
 * until the callback returns, and so is the resolve. */
typedef void (*resolve_fn)(void *owner, int error,
			   const struct sockaddr *address, socklen_t length);

/* The first address for a TCP connection. Calls back once. */
struct resolve *resolve_open(struct loop *loop, const char *host,
			     const char *port, resolve_fn on_found,
			     void *owner);
/* No callback any more; not after it has come. NULL is fine. */
void resolve_close(struct resolve *resolve);
