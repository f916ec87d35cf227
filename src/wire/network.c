#include "wire/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define IPV4_BITS 96 /* in front of an IPv4 address */

void network_write(int family, const void *address,
		   char text[NETWORK_ADDRESS_BYTES])
{
	struct in6_addr six;

	if (family == AF_INET6) {
		memcpy(&six, address, sizeof(six));
		if (IN6_IS_ADDR_V4MAPPED(&six)) {
			family = AF_INET;
			address = &six.s6_addr[IPV4_BITS / 8];
		}
	}
	text[0] = '\0';
	inet_ntop(family, address, text, NETWORK_ADDRESS_BYTES);
}

static bool read_address(const char *text, uint8_t address[16], bool *is_ipv4)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	memcpy(address, mapped, sizeof(mapped));
	*is_ipv4 = inet_pton(AF_INET, text, address + 12) == 1;
	return *is_ipv4 || inet_pton(AF_INET6, text, address) == 1;
}

static bool read_bits(const char *text, unsigned most, unsigned *bits)
{
	*bits = 0;
	if (*text == 0 || strlen(text) > 3)
		return false;
	for (; *text != 0; text++) {
		if (*text < '0' || *text > '9')
			return false;
		*bits = *bits * 10 + (unsigned)(*text - '0');
	}
	return *bits <= most;
}

static bool read_network(char *text, struct network *network)
{
	char *slash = strchr(text, '/');
	bool is_ipv4;
	unsigned bits = 128;

	if (slash != NULL)
		*slash = 0;
	if (!read_address(text, network->address, &is_ipv4))
		return false;
	if (slash != NULL) {
		if (!read_bits(slash + 1, is_ipv4 ? 32 : 128, &bits))
			return false;
		bits += is_ipv4 ? IPV4_BITS : 0;
	}
	network->bits = (uint8_t)bits;
	return true;
}

static bool add(struct network_list *networks, char *text)
{
	if (strcmp(text, "unix") == 0) {
		networks->has_unix = true;
		return true;
	}
	networks->list = mem_resize(networks->list, networks->count + 1,
				    sizeof(*networks->list));
	return read_network(text, &networks->list[networks->count++]);
}

int network_list_read(struct network_list *networks, const char *text,
		      struct problem *problem)
{
	char *copy = mem_text(text);
	char *rest = copy;
	char *word;
	int error = 0;

	*networks = (struct network_list){ 0 };
	while (error == 0 && (word = strtok_r(rest, ", \t", &rest)) != NULL) {
		char *sent = mem_text(word);

		if (!add(networks, word))
			error = problem_set(problem, -EINVAL, "NETWORK_INVALID",
					    "%s is no network (write it as "
					    "10.0.0.0/8, ::1 or unix)",
					    sent);
		free(sent);
	}
	free(copy);
	if (error < 0)
		network_list_fini(networks);
	return error;
}

void network_list_fini(struct network_list *networks)
{
	free(networks->list);
	*networks = (struct network_list){ 0 };
}

static bool is_in(const struct network *network, const uint8_t address[16])
{
	size_t whole = network->bits / 8;
	unsigned rest = network->bits % 8;
	unsigned mask = 0xff00u >> rest & 0xff;

	return memcmp(network->address, address, whole) == 0 &&
	       (rest == 0 ||
		((network->address[whole] ^ address[whole]) & mask) == 0);
}

bool network_list_has(const struct network_list *networks, const char *text)
{
	uint8_t address[16];
	bool is_ipv4;

	if (*text == 0)
		return networks->has_unix;
	if (!read_address(text, address, &is_ipv4))
		return false;
	for (size_t i = 0; i < networks->count; i++)
		if (is_in(&networks->list[i], address))
			return true;
	return false;
}
