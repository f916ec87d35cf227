/* jsonp - which names of callbacks may stand in a script that is sent. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define JSONP_NAME_BYTES_MAX 128

/* Identifiers of ASCII letters, digits, "_" and "$", joined by "." and indexed
 * by numbers: "jQuery1_2", "app.on[3]". */
bool jsonp_is_callback(const char *name, size_t length);
