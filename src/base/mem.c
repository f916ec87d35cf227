#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((noreturn, cold)) static void give_up(void)
{
	static const char text[] = "muster: out of memory\n";

	fwrite(text, 1, sizeof(text) - 1, stderr);
	abort();
}

void *mem_alloc(size_t size)
{
	void *block = malloc(size > 0 ? size : 1);

	if (block == NULL)
		give_up();
	return block;
}

void *mem_zalloc(size_t size)
{
	void *block = calloc(1, size > 0 ? size : 1);

	if (block == NULL)
		give_up();
	return block;
}

void *mem_resize(void *block, size_t count, size_t size)
{
	void *resized = reallocarray(block, count > 0 ? count : 1, size);

	if (resized == NULL)
		give_up();
	return resized;
}

void *mem_copy(const void *bytes, size_t length)
{
	void *copy = mem_alloc(length);

	if (length > 0)
		memcpy(copy, bytes, length);
	return copy;
}

char *mem_text(const char *text)
{
	return mem_copy(text, strlen(text) + 1);
}

char *mem_format(const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		give_up();
	va_end(arguments);
	return text;
}
