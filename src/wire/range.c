#include "wire/range.h"

#include "wire/field.h"

enum element { ELEMENT_GOOD, ELEMENT_BEYOND, ELEMENT_MALFORMED };

/* Digits, up to the first byte that is none; too large is the largest. */
static uint64_t read_number(const char **at, const char *end)
{
	uint64_t number = 0;

	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
		uint64_t digit = (uint64_t)(**at - '0');

		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, digit, &number))
			number = UINT64_MAX;
	}
	return number;
}

/* "-500": the last 500 bytes. */
static enum element read_suffix(struct field_text text, uint64_t size,
				struct range *range)
{
	const char *at = text.bytes + 1;
	const char *end = text.bytes + text.length;
	uint64_t count = read_number(&at, end);

	if (at == text.bytes + 1 || at != end)
		return ELEMENT_MALFORMED;
	if (count == 0 || size == 0)
		return ELEMENT_BEYOND;
	range->length = count < size ? count : size;
	range->start = size - range->length;
	return ELEMENT_GOOD;
}

static enum element read_element(struct field_text text, uint64_t size,
				 struct range *range)
{
	const char *at = text.bytes;
	const char *end = at + text.length;

	if (*at == '-')
		return read_suffix(text, size, range);
	uint64_t first = read_number(&at, end);
	uint64_t last = UINT64_MAX;

	if (at == text.bytes || at == end || *at != '-')
		return ELEMENT_MALFORMED;
	at++;
	if (at < end) {
		last = read_number(&at, end);
		if (at != end || last < first)
			return ELEMENT_MALFORMED;
	}
	if (first >= size)
		return ELEMENT_BEYOND;
	range->start = first;
	range->length = (last < size ? last + 1 : size) - first;
	return ELEMENT_GOOD;
}

enum range_answer range_read(const char *value, size_t length, uint64_t size,
			     struct ranges *ranges)
{
	struct field_text rest = { value, length };
	struct field_text element;
	uint64_t total = 0;
	size_t asked = 0;

	ranges->count = 0;
	if (length < 6 || !field_is((struct field_text){ value, 6 }, "bytes="))
		return RANGE_WHOLE;
	rest.bytes += 6;
	rest.length -= 6;
	while (field_next_element(&rest, &element)) {
		struct range range;
		enum element kind = read_element(element, size, &range);

		if (kind == ELEMENT_MALFORMED || asked++ == RANGES_MAX)
			return RANGE_WHOLE;
		if (kind == ELEMENT_BEYOND)
			continue;
		/* Asked for twice: all of it is less. */
		if (range.length > size - total)
			return RANGE_WHOLE;
		total += range.length;
		ranges->list[ranges->count++] = range;
	}
	if (asked == 0)
		return RANGE_WHOLE;
	return ranges->count > 0 ? RANGE_SOME : RANGE_BEYOND;
}
