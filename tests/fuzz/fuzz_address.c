/*
 * Any text as an address. What is refused has a reason; what is read can be
 * written in the long form, and is then read as the same.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static char *write_long(const struct address *address)
{
	const char *scheme = address->kind == ADDRESS_UDP ? "udp" : "tcp";

	switch (address->kind) {
	case ADDRESS_TCP:
	case ADDRESS_UDP:
		if (strchr(address->host, ':') != NULL)
			return mem_format("%s://[%s]:%u", scheme, address->host,
					  address->port);
		return mem_format("%s://%s:%u", scheme, address->host,
				  address->port);
	case ADDRESS_UNIX:
		return mem_format("unix://%s", address->host);
	case ADDRESS_DESCRIPTOR:
		return mem_format("fd://%u", address->port);
	case ADDRESS_SYSTEMD:
		return mem_format("systemd://%s", address->host);
	}
	must_fail("an address of no kind", __FILE__, __LINE__);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct address address;
	struct address again;
	struct problem problem = { 0 };
	char *text = mem_alloc(length + 1);

	if (length > 0)
		memcpy(text, bytes, length);
	text[length] = '\0';
	if (address_read(text, &address, &problem) < 0) {
		MUST(problem.code == -EINVAL);
		MUST(strcmp(problem.name, "ADDRESS_INVALID") == 0);
		MUST(strlen(problem.text) < sizeof(problem.text));
	} else {
		MUST(memchr(address.host, '\0', sizeof(address.host)) != NULL);
		char *whole = write_long(&address);

		MUST(address_read(whole, &again, &problem) == 0);
		MUST(again.kind == address.kind && again.port == address.port);
		MUST(strcmp(again.host, address.host) == 0);
		free(whole);
	}
	free(text);
	return 0;
}
