#include "server/peer_address.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct peer_address peer_address_of(int descriptor)
{
	struct peer_address peer = { 0 };
	union {
		struct sockaddr any;
		struct sockaddr_in four;
		struct sockaddr_in6 six;
		struct sockaddr_storage room;
	} address = { .any.sa_family = AF_UNSPEC };
	socklen_t length = sizeof(address);

	if (getpeername(descriptor, &address.any, &length) != 0)
		return peer;
	if (address.any.sa_family == AF_INET) {
		network_write(AF_INET, &address.four.sin_addr, peer.text);
		peer.port = ntohs(address.four.sin_port);
	} else if (address.any.sa_family == AF_INET6) {
		network_write(AF_INET6, &address.six.sin6_addr, peer.text);
		peer.port = ntohs(address.six.sin6_port);
	}
	return peer;
}
