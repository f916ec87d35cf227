#include "wire/address.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *prefix;
	enum address_kind kind;
} schemes[] = {
	{ "tcp://", ADDRESS_TCP },         { "http://", ADDRESS_TCP },
	{ "udp://", ADDRESS_UDP },         { "unix://", ADDRESS_UNIX },
	{ "unix:", ADDRESS_UNIX },         { "fd://", ADDRESS_DESCRIPTOR },
	{ "systemd://", ADDRESS_SYSTEMD },
};

static int refuse(struct problem *problem, const char *text, const char *why)
{
	return problem_set(
		problem, -EINVAL, "ADDRESS_INVALID",
		"cannot listen on '%.80s': %s (write tcp://HOST:PORT,"
		" udp://HOST:PORT, unix:PATH or fd://N)",
		text, why);
}

static bool read_number(const char *text, uint16_t *number)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 5 || text[digits] != '\0')
		return false;
	unsigned long value = strtoul(text, NULL, 10);

	*number = (uint16_t)value;
	return value <= UINT16_MAX;
}

static int copy_host(struct address *address, const char *host, size_t length)
{
	if (length >= sizeof(address->host))
		return -ENAMETOOLONG;
	memcpy(address->host, host, length);
	address->host[length] = '\0';
	return 0;
}

/* HOST:PORT, :PORT, PORT, [IPV6]:PORT */
static const char *read_host_and_port(const char *rest, struct address *address)
{
	const char *port = rest;
	size_t host_length = 0;
	const char *host = rest;

	if (rest[0] == '[') {
		const char *end = strchr(rest, ']');

		if (end == NULL || end[1] != ':' ||
		    memchr(rest + 1, '[', (size_t)(end - rest - 1)) != NULL)
			return "an IPv6 address is written [ADDRESS]:PORT";
		host = rest + 1;
		host_length = (size_t)(end - host);
		port = end + 2;
	} else if (strchr(rest, ':') != NULL) {
		const char *colon = strrchr(rest, ':');

		host_length = (size_t)(colon - rest);
		if (memchr(rest, ':', host_length) != NULL)
			return "an IPv6 address is written [ADDRESS]:PORT";
		port = colon + 1;
	}
	if (!read_number(port, &address->port))
		return "the port is not a number from 0 to 65535";
	if (copy_host(address, host, host_length) < 0)
		return "the host is too long";
	if (strcmp(address->host, "*") == 0)
		address->host[0] = '\0';
	return NULL;
}

int address_read(const char *text, struct address *address,
		 struct problem *problem)
{
	const char *rest = text;
	const char *why = NULL;

	*address = (struct address){ .kind = ADDRESS_TCP };
	for (size_t i = 0; i < COUNT(schemes); i++) {
		size_t length = strlen(schemes[i].prefix);

		if (strncmp(text, schemes[i].prefix, length) == 0) {
			address->kind = schemes[i].kind;
			rest = text + length;
			break;
		}
	}
	if (rest == text && strstr(text, "://") != NULL)
		return refuse(problem, text, "unknown scheme");
	if (rest == text && strchr(text, '/') != NULL)
		address->kind = ADDRESS_UNIX;

	switch (address->kind) {
	case ADDRESS_TCP:
	case ADDRESS_UDP:
		/* An URL may end with a slash. */
		if (rest != text && strlen(rest) > 0 &&
		    rest[strlen(rest) - 1] == '/') {
			char bare[ADDRESS_HOST_BYTES + 16];

			if (strlen(rest) > sizeof(bare))
				return refuse(problem, text, "it is too long");
			memcpy(bare, rest, strlen(rest) - 1);
			bare[strlen(rest) - 1] = '\0';
			why = read_host_and_port(bare, address);
		} else {
			why = read_host_and_port(rest, address);
		}
		break;
	case ADDRESS_DESCRIPTOR:
		if (!read_number(rest, &address->port))
			why = "that is no number of a descriptor";
		break;
	case ADDRESS_UNIX:
	case ADDRESS_SYSTEMD:
		if (rest[0] == '\0')
			why = "the name is empty";
		else if (copy_host(address, rest, strlen(rest)) < 0)
			why = "the name is too long";
		break;
	}
	return why == NULL ? 0 : refuse(problem, text, why);
}
