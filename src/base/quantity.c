#include "base/quantity.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Digits, and what follows them in *rest. */
static bool read_digits(const char *text, uint64_t *number, const char **rest)
{
	char *end = NULL;

	if (text[0] < '0' || text[0] > '9')
		return false; /* strtoull() takes signs and spaces */
	errno = 0;
	*number = strtoull(text, &end, 10);
	*rest = end;
	return errno == 0;
}

/* `units` ends with one without a name. */
static bool read_scaled(const char *text, const struct unit *units,
			uint64_t most, uint32_t *value)
{
	uint64_t number = 0;
	const char *rest = NULL;

	if (!read_digits(text, &number, &rest))
		return false;
	while (units->name != NULL && strcasecmp(rest, units->name) != 0)
		units++;
	if (units->name == NULL || number > most / units->factor)
		return false;
	*value = (uint32_t)(number * units->factor);
	return true;
}

bool quantity_read_time_ms(const char *text, uint32_t *time_ms)
{
	static const struct unit units[] = {
		{ "", 1 },      { "ms", 1 },      { "s", 1000 },
		{ "m", 60000 }, { "h", 3600000 }, { NULL, 0 },
	};
	uint32_t value = 0;

	if (!read_scaled(text, units, INT32_MAX, &value) || value == 0)
		return false;
	*time_ms = value;
	return true;
}

bool quantity_read_bytes(const char *text, uint32_t *bytes)
{
	static const struct unit units[] = {
		{ "", 1 },         { "b", 1 },         { "k", 1 << 10 },
		{ "kb", 1 << 10 }, { "kib", 1 << 10 }, { "m", 1 << 20 },
		{ "mb", 1 << 20 }, { "mib", 1 << 20 }, { "g", 1 << 30 },
		{ "gb", 1 << 30 }, { "gib", 1 << 30 }, { NULL, 0 },
	};

	return read_scaled(text, units, UINT32_MAX, bytes);
}

bool quantity_read_number(const char *text, uint32_t least, uint32_t most,
			  uint32_t *number)
{
	uint64_t value = 0;
	const char *rest = NULL;

	if (!read_digits(text, &value, &rest) || rest[0] != '\0' ||
	    value < least || value > most)
		return false;
	*number = (uint32_t)value;
	return true;
}
