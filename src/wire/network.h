/*
 * network - lists of networks ("10.0.0.0/8, ::1, unix"), and who is in them.
 *
 * No I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/problem.h"

#define NETWORK_ADDRESS_BYTES 46 /* as text, with its NUL */

struct network {
	uint8_t address[16]; /* IPv4 as ::ffff:a.b.c.d */
	uint8_t bits;
};

struct network_list {
	struct network *list;
	size_t count;
	bool has_unix; /* "unix": peers without an address */
};

/* An address of the system's family as text, and one of IPv4 that IPv6 carries
 * (::ffff:a.b.c.d, RFC 4291) as what it is. */
void network_write(int family, const void *address,
		   char text[NETWORK_ADDRESS_BYTES]);

/* Separated by commas and blanks. -EINVAL: the problem says which is none. */
__attribute__((warn_unused_result)) int
network_list_read(struct network_list *networks, const char *text,
		  struct problem *problem);
void network_list_fini(struct network_list *networks);
/* `address` is numeric; "" is a unix socket's peer. */
bool network_list_has(const struct network_list *networks, const char *address);
