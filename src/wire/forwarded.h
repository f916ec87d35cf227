/*
 * forwarded - whom a request came from, by what proxies say (RFC 7239, and
 * X-Forwarded-For).
 *
 * Anybody may send these headers. So they are read from the right, where the
 * nearest proxy has added what it saw, and only as far as each that says
 * something is trusted.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#include "wire/network.h"

/*
 * `client` is the peer's address, and becomes the one that the last trusted
 * proxy had its request from. `is_standard`: the value is that of Forwarded.
 * What is no address ends it: the one before it stands.
 */
void forwarded_read(char client[NETWORK_ADDRESS_BYTES],
		    const struct network_list *trusted, const char *value,
		    size_t length, bool is_standard);
