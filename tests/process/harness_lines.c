/* harness_lines - what the programs say, and what is awaited of it. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness_internal.h"

static void add_line(struct process *process, const char *text, size_t length)
{
	struct line *lines = realloc(process->lines, (process->line_count +
						      1) * sizeof(struct line));

	if (lines == NULL)
		abort();
	process->lines = lines;
	lines[process->line_count++] =
		(struct line){ .text = strndup(text, length) };
}

static void add_output(struct process *process, const char *bytes,
		       size_t length)
{
	char *text = realloc(process->partial, process->partial_bytes + length);

	if (text == NULL)
		abort();
	memcpy(text + process->partial_bytes, bytes, length);
	process->partial = text;
	process->partial_bytes += length;

	size_t begin = 0;

	for (size_t i = 0; i < process->partial_bytes; i++)
		if (text[i] == '\n') {
			add_line(process, text + begin, i - begin);
			begin = i + 1;
		}
	process->partial_bytes -= begin;
	memmove(text, text + begin, process->partial_bytes);
}

void harness_read_output(struct process *process)
{
	char bytes[65536];
	ssize_t length;

	while (process->output >= 0 &&
	       (length = read(process->output, bytes, sizeof(bytes))) >= 0) {
		if (length == 0) {
			close(process->output);
			process->output = -1;
			return;
		}
		add_output(process, bytes, (size_t)length);
	}
}

bool harness_wait_for_news(struct process *process, int64_t deadline)
{
	struct pollfd polled[2] = {
		{ .fd = process->output, .events = POLLIN },
		{ .fd = process->has_ended ? -1 : process->pidfd,
		  .events = POLLIN },
	};

	if (process->output < 0 && process->has_ended)
		return false;
	if (poll(polled, 2, harness_left_ms(deadline)) <= 0)
		return false;
	harness_read_output(process);
	harness_reap(process);
	return true;
}

static bool matches(const char *pattern, const char *text)
{
	for (; *pattern != '\0'; pattern++, text++) {
		if (*pattern == '*') {
			for (;; text++) {
				if (matches(pattern + 1, text))
					return true;
				if (*text == '\0')
					return false;
			}
		}
		if (*pattern != *text)
			return false;
	}
	return *text == '\0';
}

static const char *take_line(struct process *process, const char *pattern)
{
	for (size_t i = 0; i < process->line_count; i++) {
		struct line *line = &process->lines[i];

		if (!line->is_taken && matches(pattern, line->text)) {
			line->is_taken = true;
			return line->text;
		}
	}
	return NULL;
}

static const char *expect_pattern(struct process *process, const char *pattern)
{
	int64_t deadline = now_ms() + DEADLINE_MS;

	for (;;) {
		const char *line = take_line(process, pattern);

		if (line != NULL)
			return line;
		if (harness_wait_for_news(process, deadline))
			continue;
		if (process->output < 0)
			give_up("awaited \"%s\" from %s, but it has ended",
				pattern, process->name);
		give_up("awaited \"%s\" from %s for %d s", pattern,
			process->name, DEADLINE_MS / 1000);
	}
}

const char *expect(struct process *process, const char *pattern, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, pattern);
	vsnprintf(text, sizeof(text), pattern, arguments);
	va_end(arguments);
	return expect_pattern(process, text);
}

void expect_in_order(struct process *process, ...)
{
	va_list patterns;
	const char *pattern;
	const char *before = NULL;

	va_start(patterns, process);
	while ((pattern = va_arg(patterns, const char *)) != NULL) {
		const char *line = expect_pattern(process, pattern);

		if (before != NULL &&
		    line_number(process, line) < line_number(process, before))
			give_up("%s said \"%s\" before \"%s\"", process->name,
				line, before);
		before = line;
	}
	va_end(patterns);
}

int expect_number(struct process *process, const char *prefix, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, prefix);
	int length = vsnprintf(text, sizeof(text) - 1, prefix, arguments);

	va_end(arguments);
	text[length] = '*';
	text[length + 1] = '\0';
	return atoi(expect_pattern(process, text) + length);
}

int field(const char *line, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = line; (at = strstr(at, name)) != NULL;
	     at += length)
		if ((at == line || at[-1] == ' ') && at[length] == '=')
			return atoi(at + length + 1);
	give_up("no %s= in \"%s\"", name, line);
}

static int count_pattern(struct process *process, const char *pattern)
{
	int count = 0;

	harness_read_output(process);
	for (size_t i = 0; i < process->line_count; i++)
		count += matches(pattern, process->lines[i].text);
	return count;
}

int count_lines(struct process *process, const char *pattern, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, pattern);
	vsnprintf(text, sizeof(text), pattern, arguments);
	va_end(arguments);
	return count_pattern(process, text);
}

void expect_none(struct process *process, const char *pattern, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, pattern);
	vsnprintf(text, sizeof(text), pattern, arguments);
	va_end(arguments);
	if (count_pattern(process, text) > 0)
		give_up("%s said \"%s\", which it should not", process->name,
			text);
}

const char *line_at(const struct process *process, int index)
{
	return (size_t)index < process->line_count ? process->lines[index].text
						   : NULL;
}

int line_number(const struct process *process, const char *line)
{
	for (size_t i = 0; i < process->line_count; i++)
		if (process->lines[i].text == line)
			return (int)i;
	return -1;
}

const char *errors_of(const struct process *process)
{
	static char text[8192];
	int file = open(process->errors_path, O_RDONLY | O_CLOEXEC);
	ssize_t length = file < 0 ? 0 : read(file, text, sizeof(text) - 1);

	text[length > 0 ? length : 0] = '\0';
	if (file >= 0)
		close(file);
	return text;
}
