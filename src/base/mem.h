/*
 * mem - allocation that cannot fail.
 *
 * Out of memory ends the process with a message; whoever supervises it starts
 * another. A size that came from outside is checked against a limit before it
 * gets here. Everything is released with free().
 */
#pragma once
#include <stddef.h>

__attribute__((malloc, returns_nonnull)) void *mem_alloc(size_t size);
__attribute__((malloc, returns_nonnull)) void *mem_zalloc(size_t size);
__attribute__((returns_nonnull)) void *mem_resize(void *block, size_t count,
						  size_t size);
__attribute__((malloc, returns_nonnull)) void *mem_copy(const void *bytes,
							size_t length);
__attribute__((malloc, returns_nonnull)) char *mem_text(const char *text);
__attribute__((malloc, returns_nonnull, format(printf, 1, 2))) char *
mem_format(const char *format, ...);
