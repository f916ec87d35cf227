#include "wire/url_path.h"

#include <string.h>

#include "wire/urlencoded.h"

#define NAME_BYTES_MAX 255

static bool is_name(const char *name, size_t length, bool allows_dot_files)
{
	if (length == 0 || length > NAME_BYTES_MAX)
		return false;
	if (*name != '.')
		return true;
	if (length == 11 && memcmp(name, ".well-known", 11) == 0)
		return true;
	if (length == 1 || (length == 2 && name[1] == '.'))
		return false;
	return allows_dot_files;
}

bool url_path_is_safe(const char *path, size_t length, bool allows_dot_files)
{
	const char *whole_end = path + length;

	if (length > URL_PATH_BYTES_MAX || memchr(path, 0, length) != NULL)
		return false;
	for (const char *at = path; at < whole_end;) {
		const char *slash = memchr(at, '/', (size_t)(whole_end - at));
		const char *end = slash != NULL ? slash : whole_end;

		if (!is_name(at, (size_t)(end - at), allows_dot_files))
			return false;
		at = end + (slash != NULL);
	}
	return true;
}

bool url_path_read(char *to, const char *path, size_t length,
		   bool allows_dot_files)
{
	bool has_nul;

	if (length == 0 || *path != '/' || length > URL_PATH_BYTES_MAX)
		return false;
	length = urlencoded_decode_path(to, path + 1, length - 1, &has_nul);
	to[length] = 0;
	return !has_nul && url_path_is_safe(to, length, allows_dot_files);
}
