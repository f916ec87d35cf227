/*
 * url_path - a URL's path as that of a file below some folder.
 *
 * What could lead out of the folder, or mean something else to somebody else on
 * the way, is refused: "..", ".", empty names, NUL, however they are escaped.
 * Names that begin with a dot are as well, but ".well-known" (RFC 8615). No
 * I/O; any thread.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define URL_PATH_BYTES_MAX 4095 /* PATH_MAX, without its NUL */

/*
 * Writes "a/b" for "/a/%62", and "a/" for "/a/", with a NUL; "" for "/". `to`
 * has room for length + 1. False: it is none that a file may have.
 */
bool url_path_read(char *to, const char *path, size_t length,
		   bool allows_dot_files);

/* Is it what url_path_read() might write? For paths that are not escaped. */
bool url_path_is_safe(const char *path, size_t length, bool allows_dot_files);
