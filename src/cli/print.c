#include "cli/print.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/base64.h"
#include "base/mem.h"
#include "base/must.h"

json_t *print_bytes(const char *bytes, size_t length)
{
	json_t *text = json_stringn(bytes, length);

	if (text != NULL)
		return text;
	char *encoded = mem_alloc(base64_length(length) + 1);

	base64_encode(bytes, length, encoded);
	text = json_pack("{s:s}", "base64", encoded);
	free(encoded);
	return text;
}

void print_json_part(json_t *value)
{
	MUST(value != NULL);
	MUST(json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY) == 0 ||
	     ferror(stdout) != 0);
	json_decref(value);
}

void print_json(json_t *value)
{
	print_json_part(value);
	putchar('\n');
}
