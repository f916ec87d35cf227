/*
 * log - one line an event on stderr, a fixed phrase first, then key=value:
 *
 *   2026-11-20T10:31:07.123Z info primary[812] worker exited id=3 signal=11
 *
 * Lower case, no full stop, never a secret or a body. Lines are written with
 * one write(2) each, so those of several processes do not mix.
 */
#pragma once
#include <stdbool.h>

enum log_level { LOG_OFF, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

struct log {
	enum log_level level;
	const char *role; /* not owned; "primary", or a worker's name */
};

/* Reads "off", "error", "warn", "info" or "debug"; anything else, NULL
 * included, is `otherwise`. */
enum log_level log_level_read(const char *text, enum log_level otherwise);

static inline bool log_is_on(const struct log *log, enum log_level level)
{
	return level <= log->level;
}

__attribute__((format(printf, 3, 4))) void
log_write(const struct log *log, enum log_level level, const char *format, ...);

#define log_error(log, ...) log_write(log, LOG_ERROR, __VA_ARGS__)
#define log_warn(log, ...)  log_write(log, LOG_WARN, __VA_ARGS__)
#define log_info(log, ...)  log_write(log, LOG_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_write(log, LOG_DEBUG, __VA_ARGS__)
