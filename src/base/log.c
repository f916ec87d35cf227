#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/must.h"

#define LINE_BYTES 1024

static const char *const names[] = {
	[LOG_OFF] = "off",   [LOG_ERROR] = "error", [LOG_WARN] = "warn",
	[LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

enum log_level log_level_read(const char *text, enum log_level otherwise)
{
	for (int level = LOG_OFF; text != NULL && level <= LOG_DEBUG; level++)
		if (strcmp(text, names[level]) == 0)
			return (enum log_level)level;
	return otherwise;
}

static size_t put_head(char *line, const struct log *log, enum log_level level)
{
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	size_t used = strftime(line, LINE_BYTES, "%Y-%m-%dT%H:%M:%S", &utc);
	int more =
		snprintf(line + used, LINE_BYTES - used, ".%03ldZ %s %s[%d] ",
			 now.tv_nsec / 1000000, names[level],
			 log->role ? log->role : "muster", (int)getpid());

	MUST(more > 0);
	used += (size_t)more;
	return used < LINE_BYTES / 2 ? used : LINE_BYTES / 2;
}

/* A path or a name that came from outside must not look like another event, or
 * speak to the terminal. */
static void hide_controls(char *line, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
}

void log_write(const struct log *log, enum log_level level, const char *format,
	       ...)
{
	if (!log_is_on(log, level))
		return;

	char line[LINE_BYTES + 1];
	size_t used = put_head(line, log, level);
	va_list arguments;

	va_start(arguments, format);
	int more = vsnprintf(line + used, LINE_BYTES - used, format, arguments);

	va_end(arguments);
	MUST(more >= 0);
	used += (size_t)more;
	if (used >= LINE_BYTES)
		used = LINE_BYTES - 1;
	hide_controls(line, used);
	line[used++] = '\n';
	/* A log that cannot be written has nowhere to complain. */
	DISCARD(write(STDERR_FILENO, line, used));
}
