/*
 * Any bytes as the path of a file: what passes leads nowhere but down, by names
 * that a file can have.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"
#include "wire/url_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check_names(const char *path, bool allows_dot_files)
{
	MUST(*path != '/');
	while (*path != 0) {
		size_t length = strcspn(path, "/");

		MUST(length > 0 && length < 256);
		MUST(strncmp(path, "..", length) != 0);
		MUST(*path != '.' || allows_dot_files ||
		     strncmp(path, ".well-known", 11) == 0);
		path += length + (path[length] == '/');
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	char *to = mem_alloc(length + 1);
	bool passes;

	passes = url_path_read(to, (const char *)bytes, length, false);
	if (passes)
		check_names(to, false);
	if (url_path_read(to, (const char *)bytes, length, true))
		check_names(to, true);
	else
		MUST(!passes);
	free(to);
	return 0;
}
