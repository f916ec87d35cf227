/* peer_address - where the other end of a connection is. */
#pragma once
#include <stdint.h>

#include "wire/network.h"

struct peer_address {
	char text[NETWORK_ADDRESS_BYTES]; /* "": of a unix socket */
	uint16_t port;                    /* 0 there */
};

/* Empty where the system does not say, as of a socket that is closed. */
struct peer_address peer_address_of(int descriptor);
