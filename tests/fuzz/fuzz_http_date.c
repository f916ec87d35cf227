/*
 * Any bytes as a date: what is read is written as one that is read as the
 * same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "wire/http_date.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char text[HTTP_DATE_BYTES];
	int64_t seconds;
	int64_t again;

	if (!http_date_read((const char *)bytes, length, 1800000000, &seconds))
		return 0;
	/* From 1601 on, of which 1970 is the first that is written. */
	MUST(seconds >= -11644473600 && seconds <= 253402300800);
	http_date_write(text, seconds);
	MUST(http_date_read(text, sizeof(text), 1800000000, &again));
	MUST(again == seconds || seconds < 0 || seconds == 253402300800);
	return 0;
}
