/*
 * address - where to listen, as a person writes it.
 *
 *     tcp://HOST:PORT  http://HOST:PORT  HOST:PORT  :PORT  PORT
 *     tcp://[IPV6]:PORT  udp://HOST:PORT
 *     unix:PATH  unix://PATH  unix:@NAME  PATH with a slash
 *     fd://N  systemd://N  systemd://NAME
 *
 * No look-up of names, no I/O.
 */
#pragma once
#include <stdint.h>

#include "base/problem.h"

enum address_kind {
	ADDRESS_TCP = 1,
	ADDRESS_UDP,
	ADDRESS_UNIX,
	ADDRESS_DESCRIPTOR, /* port is its number */
	ADDRESS_SYSTEMD,    /* host is its name, or its place in the list */
};

#define ADDRESS_HOST_BYTES 256

struct address {
	enum address_kind kind;
	/* A name, a number or a path; "" is every address there is. */
	char host[ADDRESS_HOST_BYTES];
	uint16_t port;
};

/* -EINVAL with ADDRESS_INVALID. */
__attribute__((warn_unused_result)) int address_read(const char *text,
						     struct address *address,
						     struct problem *problem);
