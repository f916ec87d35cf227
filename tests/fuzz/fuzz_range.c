/*
 * Any bytes as the Range header of a content whose size the first four say:
 * what is found exists, and is no more than all of it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "wire/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	struct ranges ranges;
	uint64_t size = 0;
	uint64_t total = 0;

	if (length < 4)
		return 0;
	for (size_t i = 0; i < 4; i++)
		size = size << 8 | bytes[i];
	if (range_read((const char *)bytes + 4, length - 4, size, &ranges) !=
	    RANGE_SOME)
		return 0;
	MUST(ranges.count > 0 && ranges.count <= RANGES_MAX);
	for (size_t i = 0; i < ranges.count; i++) {
		const struct range *range = &ranges.list[i];

		MUST(range->length > 0 && range->start < size);
		MUST(range->length <= size - range->start);
		total += range->length;
	}
	MUST(total <= size);
	return 0;
}
