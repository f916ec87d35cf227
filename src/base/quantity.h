/*
 * quantity - times and sizes as a person writes them: "10s", "64KiB".
 *
 * false: it is none, or is out of range.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* "250" and "250ms", "10s", "2m", "1h": 1 ms to 24 days. */
bool quantity_read_time_ms(const char *text, uint32_t *time_ms);
/* "512", "16KiB", "1MiB", "1GiB", also as "16k", "1m", "1g" or "16KB": up to
 * 4 GiB less one. A kilobyte is 1024 bytes, whatever it is called. */
bool quantity_read_bytes(const char *text, uint32_t *bytes);
bool quantity_read_number(const char *text, uint32_t least, uint32_t most,
			  uint32_t *number);
