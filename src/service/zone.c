#include "service/zone.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/civil.h"
#include "service/zone_rule.h"

#define DIRECTORY      "/usr/share/zoneinfo"
#define FILE_BYTES_MAX (512 * 1024)
#define HEADER_BYTES   44
#define OFFSET_MAX_S   (26 * 3600)

struct change {
	int64_t at_s;
	int32_t offset_s; /* from then on */
};

struct zone {
	struct change *changes; /* by time */
	size_t count;
	int32_t first_s; /* before the first change */
	struct zone_rule rule;
	bool has_rule; /* after the last change */
};

/* ---- a file ---- */

struct counts {
	uint32_t isut;
	uint32_t isstd;
	uint32_t leap;
	uint32_t times;
	uint32_t types;
	uint32_t chars;
};

struct reader {
	const uint8_t *at;
	size_t left;
};

static uint32_t number32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 |
	       (uint32_t)at[2] << 8 | at[3];
}

static int64_t number(const uint8_t *at, size_t width)
{
	if (width == 4)
		return (int32_t)number32(at);
	return (int64_t)((uint64_t)number32(at) << 32 | number32(at + 4));
}

static const uint8_t *take(struct reader *reader, uint64_t length)
{
	const uint8_t *at = reader->at;

	if (length > reader->left)
		return NULL;
	reader->at += length;
	reader->left -= (size_t)length;
	return at;
}

static bool read_header(struct reader *reader, struct counts *counts,
			uint8_t *version)
{
	const uint8_t *at = take(reader, HEADER_BYTES);

	if (at == NULL || memcmp(at, "TZif", 4) != 0)
		return false;
	*version = at[4];
	*counts = (struct counts){
		.isut = number32(at + 20),
		.isstd = number32(at + 24),
		.leap = number32(at + 28),
		.times = number32(at + 32),
		.types = number32(at + 36),
		.chars = number32(at + 40),
	};
	return counts->types > 0 && counts->times <= FILE_BYTES_MAX;
}

/* What of a block follows its times and types. */
static uint64_t rest_of(const struct counts *counts, size_t width)
{
	return (uint64_t)counts->chars + (uint64_t)counts->leap * (width + 4) +
	       counts->isstd + counts->isut;
}

static bool skip_block(struct reader *reader, const struct counts *counts)
{
	return take(reader, (uint64_t)counts->times * 5 +
				    (uint64_t)counts->types * 6 +
				    rest_of(counts, 4)) != NULL;
}

static bool offset_of(const uint8_t *types, size_t type, int32_t *offset_s)
{
	*offset_s = (int32_t)number(types + type * 6, 4);
	return *offset_s >= -OFFSET_MAX_S && *offset_s <= OFFSET_MAX_S;
}

static bool read_block(struct reader *reader, const struct counts *counts,
		       size_t width, struct zone *zone)
{
	const uint8_t *times = take(reader, (uint64_t)counts->times * width);
	const uint8_t *indices = take(reader, counts->times);
	const uint8_t *types = take(reader, (uint64_t)counts->types * 6);

	if (times == NULL || indices == NULL || types == NULL ||
	    take(reader, rest_of(counts, width)) == NULL ||
	    !offset_of(types, 0, &zone->first_s))
		return false;
	zone->changes = mem_alloc((counts->times + 1) * sizeof(struct change));
	for (size_t i = 0; i < counts->times; i++) {
		struct change *change = &zone->changes[zone->count++];

		change->at_s = number(times + i * width, width);
		if (indices[i] >= counts->types ||
		    !offset_of(types, indices[i], &change->offset_s) ||
		    (i > 0 && change->at_s <= change[-1].at_s))
			return false;
	}
	return true;
}

/* Between two line feeds: what holds after the last change. */
static bool read_footer(struct reader *reader, struct zone *zone)
{
	char text[128];
	const uint8_t *end;

	if (reader->left < 2 || reader->at[0] != '\n')
		return false;
	end = memchr(reader->at + 1, '\n', reader->left - 1);
	if (end == NULL)
		return false;
	size_t length = (size_t)(end - reader->at) - 1;

	if (length >= sizeof(text))
		return false;
	memcpy(text, reader->at + 1, length);
	text[length] = '\0';
	zone->has_rule = length > 0;
	return length == 0 || zone_rule_read(text, &zone->rule);
}

static bool read_file(struct reader *reader, struct zone *zone)
{
	struct counts counts;
	uint8_t version;

	if (!read_header(reader, &counts, &version))
		return false;
	if (version == 0)
		return read_block(reader, &counts, 4, zone);
	return skip_block(reader, &counts) &&
	       read_header(reader, &counts, &version) &&
	       read_block(reader, &counts, 8, zone) &&
	       read_footer(reader, zone);
}

struct zone *zone_read(const uint8_t *bytes, size_t length)
{
	struct reader reader = { bytes, length };
	struct zone *zone = mem_zalloc(sizeof(*zone));

	if (read_file(&reader, zone))
		return zone;
	zone_free(zone);
	return NULL;
}

/* ---- by name ---- */

static bool is_name(const char *name)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789_+-/";

	return name[0] != '\0' && name[0] != '/' &&
	       name[strspn(name, allowed)] == '\0';
}

static uint8_t *load(const char *path, size_t *length)
{
	int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	uint8_t *bytes;
	ssize_t got = 1;

	if (file < 0)
		return NULL;
	bytes = mem_alloc(FILE_BYTES_MAX);
	*length = 0;
	while (got > 0 && *length < FILE_BYTES_MAX) {
		got = read(file, bytes + *length, FILE_BYTES_MAX - *length);
		if (got > 0)
			*length += (size_t)got;
	}
	close(file);
	if (got == 0)
		return bytes;
	free(bytes);
	return NULL;
}

struct zone *zone_open(const char *name, struct problem *problem)
{
	const char *directory = getenv("TZDIR");
	char path[PATH_MAX];
	size_t size;

	if (name == NULL || strcmp(name, "UTC") == 0)
		return mem_zalloc(sizeof(struct zone));
	if (directory == NULL || directory[0] == '\0')
		directory = DIRECTORY;
	int length = snprintf(path, sizeof(path), "%s/%s", directory, name);
	uint8_t *bytes =
		is_name(name) && length > 0 && (size_t)length < sizeof(path)
			? load(path, &size)
			: NULL;
	struct zone *zone = bytes == NULL ? NULL : zone_read(bytes, size);

	free(bytes);
	if (zone == NULL)
		problem_set(problem, -EINVAL, "ZONE_UNKNOWN",
			    "there is no time zone '%.64s' in %.100s (is it "
			    "spelled right, is tzdata installed?)",
			    name, directory);
	return zone;
}

void zone_free(struct zone *zone)
{
	if (zone == NULL)
		return;
	free(zone->changes);
	free(zone);
}

/* ---- times ---- */

int32_t zone_offset_s(const struct zone *zone, int64_t at_s)
{
	size_t low = 0;
	size_t high = zone->count;

	/* How many changes have been made by then. */
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (zone->changes[middle].at_s <= at_s)
			low = middle + 1;
		else
			high = middle;
	}
	if (zone->has_rule && low == zone->count)
		return zone_rule_offset_s(&zone->rule, at_s);
	return low == 0 ? zone->first_s : zone->changes[low - 1].offset_s;
}

int64_t zone_change_s(const struct zone *zone, int64_t from_s, int64_t to_s)
{
	int32_t after_s = zone_offset_s(zone, to_s);

	while (to_s - from_s > 1) {
		int64_t middle_s = from_s + (to_s - from_s) / 2;

		if (zone_offset_s(zone, middle_s) == after_s)
			to_s = middle_s;
		else
			from_s = middle_s;
	}
	return to_s;
}

enum zone_times zone_resolve(const struct zone *zone, int64_t local_s,
			     int64_t *at_s)
{
	int64_t from_s = local_s - CIVIL_DAY_S;
	int64_t to_s = local_s + CIVIL_DAY_S;
	int32_t before_s = zone_offset_s(zone, from_s);
	int32_t after_s = zone_offset_s(zone, to_s);
	int64_t first_s = local_s - before_s;
	int64_t second_s = local_s - after_s;
	bool is_first = zone_offset_s(zone, first_s) == before_s;
	bool is_second = zone_offset_s(zone, second_s) == after_s;

	*at_s = is_first ? first_s : second_s;
	if (is_first && is_second && before_s != after_s)
		return ZONE_TWICE;
	if (is_first || is_second)
		return ZONE_ONCE;
	*at_s = zone_change_s(zone, from_s, to_s);
	return ZONE_NEVER;
}
