/* mime - which media type a file has, by the end of its name. */
#pragma once
#include <stdbool.h>

/* application/octet-stream where it is not known. */
const char *mime_type(const char *path);
/* Is content of that type worth compressing? */
bool mime_is_compressible(const char *type);
