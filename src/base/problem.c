#include "base/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/must.h"

int problem_set(struct problem *problem, int code, const char *name,
		const char *format, ...)
{
	va_list arguments;

	MUST(code < 0);
	problem->code = code;
	problem->name = name;
	va_start(arguments, format);
	/* A text that does not fit is cut. */
	DISCARD(vsnprintf(problem->text, sizeof(problem->text), format,
			  arguments));
	va_end(arguments);
	return code;
}
