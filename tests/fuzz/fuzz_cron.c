/*
 * Any text as times that recur, and any bytes as a time zone: a line feed parts
 * them. What is read has a next time, which is later, and one after it.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/cron.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	const uint8_t *line = length > 0 ? memchr(bytes, '\n', length) : NULL;
	size_t text_length = line == NULL ? length : (size_t)(line - bytes);
	char *text = mem_alloc(text_length + 1);
	struct zone *zone = NULL;
	struct problem problem = { 0 };
	struct cron cron;

	if (text_length > 0)
		memcpy(text, bytes, text_length);
	text[text_length] = '\0';
	if (line != NULL)
		zone = zone_read(line + 1, length - text_length - 1);
	if (zone == NULL)
		zone = zone_open(NULL, &problem);
	if (cron_read(text, &cron, &problem) < 0) {
		MUST(problem.code == -EINVAL);
	} else {
		int64_t first_s = cron_next_s(&cron, zone, 1763640000);
		int64_t second_s = cron_next_s(&cron, zone, first_s);

		MUST(first_s > 1763640000 && second_s > first_s);
	}
	zone_free(zone);
	free(text);
	return 0;
}
