/*
 * json_plain - most of a JSON string needs no second look: it is passed over
 * many bytes at a time, read and written alike.
 */
#pragma once
#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* How many of eight bytes come before the first quote, backslash, control or
 * byte over 127. */
static inline size_t json_plain_bytes(const void *bytes)
{
	const uint64_t ones = UINT64_MAX / 255, highs = ones << 7;
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	word = le64toh(word); /* the first one lowest */
	uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');

	/* A byte's high bit is set where it was over 127 or under what is taken
	 * off; or by a borrow, but that is from one before it that was found
	 * itself. */
	uint64_t found =
		(word | (word - ones * ' ') | (quote - ones) | (slash - ones)) &
		highs;

	return found == 0 ? 8 : (size_t)__builtin_ctzll(found) / 8;
}

#ifdef __SSE2__
/* The same of sixteen. As signed, a byte over 127 is below a space, too. */
static inline size_t json_plain_bytes_16(const void *bytes)
{
	__m128i word = _mm_loadu_si128(bytes);
	__m128i found = _mm_or_si128(
		_mm_cmplt_epi8(word, _mm_set1_epi8(' ')),
		_mm_or_si128(_mm_cmpeq_epi8(word, _mm_set1_epi8('"')),
			     _mm_cmpeq_epi8(word, _mm_set1_epi8('\\'))));
	unsigned bits = (unsigned)_mm_movemask_epi8(found);

	return bits == 0 ? 16 : (size_t)__builtin_ctz(bits);
}
#endif

/* The first such byte, or the end. */
static inline const uint8_t *json_plain_end(const uint8_t *at,
					    const uint8_t *end)
{
#ifdef __SSE2__
	while (end - at >= 16) {
		size_t plain = json_plain_bytes_16(at);

		at += plain;
		if (plain < 16)
			return at;
	}
#endif
	while (end - at >= 8) {
		size_t plain = json_plain_bytes(at);

		at += plain;
		if (plain < 8)
			return at;
	}
	while (at < end && *at >= ' ' && *at < 0x80 && *at != '"' &&
	       *at != '\\')
		at++;
	return at;
}
