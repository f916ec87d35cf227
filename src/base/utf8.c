#include "base/utf8.h"

#include <string.h>

/* How far the bytes are ASCII, eight at a time. */
static size_t skip_ascii(const uint8_t *bytes, size_t length)
{
	size_t at = 0;
	uint64_t eight;

	for (; length - at >= sizeof(eight); at += sizeof(eight)) {
		memcpy(&eight, bytes + at, sizeof(eight));
		if ((eight & UINT64_C(0x8080808080808080)) != 0)
			break;
	}
	while (at < length && bytes[at] < 0x80)
		at++;
	return at;
}

/* The first byte of a character that is not ASCII: RFC 3629, section 4. */
static bool begin(struct utf8 *utf8, uint8_t byte)
{
	utf8->minimum = 0x80;
	utf8->maximum = 0xbf;
	if (byte < 0xc2 || byte > 0xf4)
		return false;
	if (byte < 0xe0) {
		utf8->left = 1;
	} else if (byte < 0xf0) {
		utf8->left = 2;
		if (byte == 0xe0)
			utf8->minimum = 0xa0;
		else if (byte == 0xed)
			utf8->maximum = 0x9f;
	} else {
		utf8->left = 3;
		if (byte == 0xf0)
			utf8->minimum = 0x90;
		else if (byte == 0xf4)
			utf8->maximum = 0x8f;
	}
	return true;
}

bool utf8_feed(struct utf8 *utf8, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;
	const uint8_t *end = at + length;

	while (at < end) {
		if (utf8->left == 0) {
			at += skip_ascii(at, (size_t)(end - at));
			if (at < end && !begin(utf8, *at++))
				return false;
			continue;
		}
		if (*at < utf8->minimum || *at > utf8->maximum)
			return false;
		utf8->minimum = 0x80;
		utf8->maximum = 0xbf;
		utf8->left--;
		at++;
	}
	return true;
}

bool utf8_is_valid(const char *text, size_t length)
{
	struct utf8 utf8 = { 0 };

	return utf8_feed(&utf8, text, length) && utf8_is_whole(&utf8);
}

size_t utf8_character_bytes(const uint8_t *at, size_t left)
{
	uint8_t first = at[0];
	uint8_t lowest = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	uint8_t highest = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	size_t bytes = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;

	if (first < 0xc2 || first > 0xf4 || bytes > left)
		return 0;
	if (at[1] < lowest || at[1] > highest)
		return 0;
	for (size_t i = 2; i < bytes; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	return bytes;
}
