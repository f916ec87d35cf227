/*
 * Any bytes as Forwarded and X-Forwarded-For: the client is an address, whoever
 * says so; and nobody who is not trusted is heard.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/forwarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static bool is_address(const char *text)
{
	uint8_t address[16];

	return inet_pton(AF_INET, text, address) == 1 ||
	       inet_pton(AF_INET6, text, address) == 1;
}

static void check(const struct network_list *trusted, const char *value,
		  size_t length, bool is_standard)
{
	char client[NETWORK_ADDRESS_BYTES] = "10.0.0.1";

	forwarded_read(client, trusted, value, length, is_standard);
	MUST(is_address(client));
	strcpy(client, "192.0.2.1");
	forwarded_read(client, trusted, value, length, is_standard);
	MUST(strcmp(client, "192.0.2.1") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct network_list trusted;
	struct problem problem;
	char *text = mem_alloc(length + 1);

	MUST(network_list_read(&trusted, "10.0.0.0/8, ::1", &problem) == 0);
	check(&trusted, (const char *)bytes, length, false);
	check(&trusted, (const char *)bytes, length, true);
	network_list_fini(&trusted);

	if (length > 0)
		memcpy(text, bytes, length);
	text[length] = 0;
	if (network_list_read(&trusted, text, &problem) == 0) {
		DISCARD(network_list_has(&trusted, "10.0.0.1"));
		network_list_fini(&trusted);
	}
	free(text);
	return 0;
}
