#include "wire/forwarded.h"

#include <arpa/inet.h>
#include <string.h>

#include "wire/field.h"

/* "[2001:db8::1]:80", "192.0.2.1:80", without brackets and port. */
static struct field_text strip_port(struct field_text text)
{
	const char *colon;

	if (text.length > 0 && *text.bytes == '[') {
		const char *close = memchr(text.bytes, ']', text.length);

		if (close == NULL)
			return (struct field_text){ text.bytes, 0 };
		return (struct field_text){ text.bytes + 1,
					    (size_t)(close - text.bytes) - 1 };
	}
	colon = text.length > 0 ? memchr(text.bytes, ':', text.length) : NULL;
	/* Two colons: IPv6, as X-Forwarded-For has it. */
	if (colon != NULL &&
	    memchr(colon + 1, ':',
		   (size_t)(text.bytes + text.length - colon - 1)) == NULL)
		text.length = (size_t)(colon - text.bytes);
	return text;
}

/* As the system writes it: addresses are compared as texts. */
static bool take_address(struct field_text text,
			 char client[NETWORK_ADDRESS_BYTES])
{
	unsigned char address[sizeof(struct in6_addr)];
	char copy[NETWORK_ADDRESS_BYTES];
	int family = AF_INET;

	text = strip_port(text);
	if (text.length == 0 || text.length >= sizeof(copy))
		return false;
	memcpy(copy, text.bytes, text.length);
	copy[text.length] = 0;
	if (inet_pton(AF_INET, copy, address) != 1) {
		family = AF_INET6;
		if (inet_pton(AF_INET6, copy, address) != 1)
			return false;
	}
	network_write(family, address, client);
	return true;
}

static struct field_text find_for(struct field_text element)
{
	struct field_parameter parameter;

	while (field_next_parameter(&element, &parameter))
		if (field_is(parameter.name, "for"))
			return parameter.value;
	return (struct field_text){ element.bytes, 0 };
}

void forwarded_read(char client[NETWORK_ADDRESS_BYTES],
		    const struct network_list *trusted, const char *value,
		    size_t length, bool is_standard)
{
	/* By commas alone: a quote that a client has left open must not
	 * swallow what a proxy added. */
	while (length > 0 && network_list_has(trusted, client)) {
		const char *comma = memrchr(value, ',', length);
		const char *start = comma != NULL ? comma + 1 : value;
		struct field_text element = field_trim(start, value + length);

		length = comma != NULL ? (size_t)(comma - value) : 0;
		if (element.length == 0)
			continue;
		if (is_standard)
			element = find_for(element);
		if (!take_address(element, client))
			return;
	}
}
