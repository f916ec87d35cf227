#include "base/base64.h"

#include <stdint.h>

static const char alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *bytes, size_t length, char *text)
{
	const uint8_t *from = bytes;

	for (; length > 0; from += 3, text += 4) {
		size_t count = length < 3 ? length : 3;
		uint32_t group = (uint32_t)from[0] << 16;

		if (count > 1)
			group |= (uint32_t)from[1] << 8;
		if (count > 2)
			group |= from[2];
		text[0] = alphabet[group >> 18];
		text[1] = alphabet[group >> 12 & 63];
		text[2] = count > 1 ? alphabet[group >> 6 & 63] : '=';
		text[3] = count > 2 ? alphabet[group & 63] : '=';
		length -= count;
	}
	*text = '\0';
}

static int value_of(char letter)
{
	if (letter >= 'A' && letter <= 'Z')
		return letter - 'A';
	if (letter >= 'a' && letter <= 'z')
		return letter - 'a' + 26;
	if (letter >= '0' && letter <= '9')
		return letter - '0' + 52;
	if (letter == '+')
		return 62;
	return letter == '/' ? 63 : -1;
}

bool base64_decode(const char *text, size_t length, void *bytes,
		   size_t *decoded)
{
	uint8_t *to = bytes;

	*decoded = 0;
	if (length % 4 != 0)
		return false;
	for (size_t at = 0; at < length; at += 4) {
		uint32_t group = 0;
		size_t letters = 4;

		if (at + 4 == length && text[at + 3] == '=')
			letters = text[at + 2] == '=' ? 2 : 3;
		for (size_t i = 0; i < 4; i++) {
			int value = i < letters ? value_of(text[at + i]) : 0;

			if (value < 0)
				return false;
			group = group << 6 | (uint32_t)value;
		}
		/* Bits behind the last byte would be lost. */
		if ((group & ((1U << (4 - letters) * 8) - 1)) != 0)
			return false;
		for (size_t i = 0; i + 1 < letters; i++)
			to[(*decoded)++] = (uint8_t)(group >> (16 - 8 * i));
	}
	return true;
}
