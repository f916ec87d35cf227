#include "base/json_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digits.h"
#include "base/json_plain.h"
#include "base/utf8.h"

#define NUMBER_BYTES 32
#define ESCAPE_BYTES 6 /* \u001f */

static void put(struct json_writer *writer, const char *text, size_t length)
{
	buffer_append(writer->buffer, text, length);
}

/* A value begins. */
static void separate(struct json_writer *writer)
{
	if (writer->follows)
		put(writer, ",", 1);
	writer->follows = true;
}

static void open(struct json_writer *writer, const char *bracket)
{
	separate(writer);
	put(writer, bracket, 1);
	writer->follows = false;
}

static void close(struct json_writer *writer, const char *bracket)
{
	put(writer, bracket, 1);
	writer->follows = true;
}

void json_write_object(struct json_writer *writer)
{
	open(writer, "{");
}

void json_write_object_end(struct json_writer *writer)
{
	close(writer, "}");
}

void json_write_array(struct json_writer *writer)
{
	open(writer, "[");
}

void json_write_array_end(struct json_writer *writer)
{
	close(writer, "]");
}

/* ---- strings ---- */

static void put_escape(struct json_writer *writer, uint8_t byte)
{
	static const char *const letters = "btn\0fr"; /* from 8 on */
	char escape[ESCAPE_BYTES + 1] = { '\\', (char)byte };
	size_t length = 2;

	if (byte >= 8 && byte <= 13 && byte != 11)
		escape[1] = letters[byte - 8];
	else if (byte < ' ')
		length = (size_t)snprintf(escape, sizeof(escape), "\\u%04x",
					  byte);
	put(writer, escape, length);
}

/* How many need no second look, from the first on. */
static size_t plain_run(const uint8_t *bytes, size_t length)
{
	/* Most keys are longer than a word and end within the next: what was
	 * seen already is looked at with it. */
	if (length > 8 && length < 16 && json_plain_bytes(bytes) == 8 &&
	    json_plain_bytes(bytes + length - 8) == 8)
		return length;
	return (size_t)(json_plain_end(bytes, bytes + length) - bytes);
}

/* From the first one on that needs a look. */
__attribute__((noinline)) static void
put_rest(struct json_writer *writer, const uint8_t *bytes, size_t length)
{
	while (length > 0) {
		size_t used = 1;

		if (bytes[0] < 0x80) {
			put_escape(writer, bytes[0]);
		} else if ((used = utf8_character_bytes(bytes, length)) > 0) {
			put(writer, (const char *)bytes, used);
		} else {
			put(writer, "\xef\xbf\xbd", 3);
			used = 1;
		}
		bytes += used;
		length -= used;
		used = plain_run(bytes, length);
		put(writer, (const char *)bytes, used);
		bytes += used;
		length -= used;
	}
}

static void put_string(struct json_writer *writer, const char *text,
		       size_t length)
{
	const uint8_t *bytes = (const uint8_t *)text;
	size_t run = plain_run(bytes, length);
	uint8_t *to = buffer_reserve(writer->buffer, run + 1);

	to[0] = '"';
	if (run > 0)
		memcpy(to + 1, text, run);
	buffer_extend(writer->buffer, run + 1);
	if (run < length)
		put_rest(writer, bytes + run, length - run);
	put(writer, "\"", 1);
}

void json_write_key(struct json_writer *writer, const char *key, size_t length)
{
	separate(writer);
	put_string(writer, key, length);
	put(writer, ":", 1);
	writer->follows = false;
}

void json_write_name(struct json_writer *writer, const char *key)
{
	json_write_key(writer, key, strlen(key));
}

void json_write_string(struct json_writer *writer, const char *text,
		       size_t length)
{
	separate(writer);
	put_string(writer, text, length);
}

void json_write_text(struct json_writer *writer, const char *text)
{
	json_write_string(writer, text, strlen(text));
}

/* ---- the rest ---- */

void json_write_raw(struct json_writer *writer, const char *text, size_t length)
{
	separate(writer);
	put(writer, text, length);
}

void json_write_integer(struct json_writer *writer, int64_t value)
{
	char text[DIGITS_MAX + 1];
	char *at = text;

	if (value < 0)
		*at++ = '-';
	at += digits_put(at, value < 0 ? -(uint64_t)value : (uint64_t)value);
	json_write_raw(writer, text, (size_t)(at - text));
}

/* ---- numbers ----
 *
 * The fewest of 15 to 17 digits that read back the same. For what is neither
 * tiny nor huge that is worked out in integers, exactly, in a tenth of the time
 * that the C library takes.
 */

#define PRECISION_MAX 17

/* No __int128 in ISO C, but in every compiler that we have. */
__extension__ typedef unsigned __int128 wide;

/* mantissa * 10^scale / 2^shift: what is to be written, times 10^scale. */
struct decimal {
	uint64_t mantissa;
	int shift;
	int scale;
	wide step;       /* 10^scale: the distance to the next number */
	uint64_t digits; /* 17 of them, rounded down */
	wide rest;       /* below that, in units of 2^-shift */
};

static void scale_to(struct decimal *decimal, int scale)
{
	decimal->scale = scale;
	decimal->step = scale <= 19 ? digits_powers[scale]
				    : (wide)digits_powers[19] *
					      digits_powers[scale - 19];
	wide whole = decimal->step * decimal->mantissa;

	decimal->digits = (uint64_t)(whole >> decimal->shift);
	decimal->rest = whole - ((wide)decimal->digits << decimal->shift);
}

/* Rounded to what ends with as many zeros as `unit`; is it still the same?
 * Inline, so that `unit` is a constant, which divides in no time. */
__attribute__((always_inline)) static inline bool
round_to(const struct decimal *decimal, uint64_t unit, uint64_t *rounded)
{
	wide whole = (wide)unit << decimal->shift;
	wide rest = ((wide)(decimal->digits % unit) << decimal->shift) +
		    decimal->rest;
	bool is_odd;

	*rounded = decimal->digits / unit;
	is_odd = (*rounded & 1) != 0;
	if (rest * 2 > whole || (rest * 2 == whole && is_odd)) {
		(*rounded)++;
		rest = whole - rest;
	}
	return rest * 2 < decimal->step;
}

/* "123.45" of 12345 and 2. */
static size_t place(char *text, uint64_t digits, int scale)
{
	char room[DIGITS_MAX];
	char *at = text;

	while (scale > 0 && digits % 10 == 0) {
		digits /= 10;
		scale--;
	}
	int count = (int)digits_put(room, digits);
	int whole = count - scale; /* digits before the point */

	if (whole <= 0) {
		memcpy(at, "0.000", 5); /* no more of them: see write_decimal */
		at += 2 - whole;
		whole = 0;
	} else {
		memcpy(at, room, (size_t)whole);
		at += whole;
		if (whole < count)
			*at++ = '.';
	}
	memcpy(at, room + whole, (size_t)(count - whole));
	return (size_t)(at + count - whole - text);
}

/* From 0.0001 up to 1e15; 0: it takes the long way. */
static size_t write_decimal(char *text, double value)
{
	struct decimal decimal;
	uint64_t bits;
	uint64_t rounded;
	int spare = 2;

	if (!(value >= 1e-4 && value < 1e15))
		return 0;
	/* It is 1.something times a power of two (IEEE 754). */
	memcpy(&bits, &value, sizeof(bits));
	decimal.mantissa = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1)
									<< 52;
	if (decimal.mantissa == UINT64_C(1) << 52)
		return 0; /* its neighbours are not equally far away */
	int exponent = (int)(bits >> 52) - 1022;

	decimal.shift = 53 - exponent;
	int scale = PRECISION_MAX - (exponent > 0 ? exponent * 3 / 10 : 0);

	/* At most a few steps, as a power of two says how many digits. */
	for (scale_to(&decimal, scale);
	     decimal.digits >= digits_powers[PRECISION_MAX];)
		scale_to(&decimal, --scale);
	while (decimal.digits < digits_powers[PRECISION_MAX - 1])
		scale_to(&decimal, ++scale);
	if (!round_to(&decimal, 100, &rounded)) {
		spare = 1;
		if (!round_to(&decimal, 10, &rounded)) {
			spare = 0;
			(void)round_to(&decimal, 1, &rounded);
		}
	}
	return place(text, rounded, scale - spare);
}

static size_t write_slowly(char text[NUMBER_BYTES], double value)
{
	int length = 0;

	for (int digits = 15; digits <= PRECISION_MAX; digits++) {
		length = snprintf(text, NUMBER_BYTES, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	/* A locale may have another decimal point. */
	for (int i = 0; i < length; i++)
		if (text[i] == ',')
			text[i] = '.';
	return (size_t)length;
}

void json_write_number(struct json_writer *writer, double value)
{
	char text[NUMBER_BYTES];
	char *at = text;

	if (!isfinite(value)) {
		json_write_null(writer);
		return;
	}
	if (value < 0)
		*at++ = '-';
	size_t length = write_decimal(at, fabs(value));

	length = length > 0 ? length + (size_t)(at - text)
			    : write_slowly(text, value);
	json_write_raw(writer, text, length);
}

void json_write_boolean(struct json_writer *writer, bool value)
{
	json_write_raw(writer, value ? "true" : "false", value ? 4 : 5);
}

void json_write_null(struct json_writer *writer)
{
	json_write_raw(writer, "null", 4);
}
