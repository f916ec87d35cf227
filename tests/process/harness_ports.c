/* harness_ports - addresses and ports that no other test uses. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness.h"

const char *own_host(void)
{
	static char host[32];
	unsigned pid = (unsigned)getpid();

	/* Linux answers on all of 127/8. */
	snprintf(host, sizeof(host), "127.%u.%u.%u", 1 + (pid >> 16) % 250,
		 (pid >> 8) & 255, 1 + (pid & 255) % 254);
	return host;
}

static int bind_port(int *descriptor)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t length = sizeof(address);

	inet_pton(AF_INET, own_host(), &address.sin_addr);
	*descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*descriptor < 0 ||
	    bind(*descriptor, (struct sockaddr *)&address, length) != 0 ||
	    listen(*descriptor, 16) != 0 ||
	    getsockname(*descriptor, (struct sockaddr *)&address, &length) != 0)
		give_up("cannot bind a port: %s", strerror(errno));
	return ntohs(address.sin_port);
}

int held_port(int *descriptor)
{
	return bind_port(descriptor);
}

int free_port(void)
{
	int descriptor;
	int port = bind_port(&descriptor);

	close(descriptor);
	return port;
}
