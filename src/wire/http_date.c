#include "wire/http_date.h"

#include <string.h>

#define SECONDS_MAX 253402300799 /* the end of 9999 */

static const char days[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct date {
	int64_t year;
	int month; /* from 0 */
	int day;   /* from 1 */
	int hour;
	int minute;
	int second;
};

/* Days from 1970-01-01: years begin in March, so that the leap day is the last
 * of one, and 400 of them are 146097 days. */
static int64_t days_of(int64_t year, int month, int day)
{
	int64_t shifted = month >= 2 ? year : year - 1;
	int64_t era = shifted / 400;
	int64_t of_era = shifted % 400;
	int from_march = (month + 10) % 12;
	int64_t of_year = (153 * from_march + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 +
	       of_year - 719468;
}

static void split(int64_t seconds, struct date *date, int *weekday)
{
	int64_t day = seconds / 86400;
	int64_t shifted = day + 719468;
	int64_t era = shifted / 146097;
	int64_t of_era = shifted % 146097;
	int64_t year =
		(of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) /
		365;
	int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	int64_t month = (5 * of_year + 2) / 153;
	int in_day = (int)(seconds % 86400);

	date->day = (int)(of_year - (153 * month + 2) / 5 + 1);
	date->month = (int)((month + 2) % 12);
	date->year = year + era * 400 + (date->month < 2);
	date->hour = in_day / 3600;
	date->minute = in_day / 60 % 60;
	date->second = in_day % 60;
	*weekday = (int)((day + 4) % 7);
}

static char *put_digits(char *to, int64_t number, int count)
{
	for (int i = count - 1; i >= 0; i--) {
		to[i] = (char)('0' + number % 10);
		number /= 10;
	}
	return to + count;
}

void http_date_write(char to[HTTP_DATE_BYTES], int64_t seconds)
{
	struct date date;
	int weekday;

	if (seconds < 0)
		seconds = 0;
	split(seconds < SECONDS_MAX ? seconds : SECONDS_MAX, &date, &weekday);
	memcpy(to, "Sun, 06 Nov 1994 08:49:37 GMT", HTTP_DATE_BYTES);
	memcpy(to, days + 3 * (ptrdiff_t)weekday, 3);
	put_digits(to + 5, date.day, 2);
	memcpy(to + 8, months + 3 * (ptrdiff_t)date.month, 3);
	put_digits(to + 12, date.year, 4);
	put_digits(to + 17, date.hour, 2);
	put_digits(to + 20, date.minute, 2);
	put_digits(to + 23, date.second, 2);
}

/* ---- Reading: by patterns ---- */

/* In a pattern: D day, M month, Y year, h m s; w letters of a day's name; "_"
 * a digit of the day that may be a blank. All else stands for itself. */
static const char fixed[] = "www, DD MMM YYYY hh:mm:ss GMT";
static const char rfc850[] = ", DD-MMM-YY hh:mm:ss GMT";
static const char asctime_form[] = "www MMM _D hh:mm:ss YYYY";

static bool is_letter(char byte)
{
	return (byte | 32) >= 'a' && (byte | 32) <= 'z';
}

static int find_month(const char *name)
{
	for (int i = 0; i < 12; i++)
		if (memcmp(months + 3 * (ptrdiff_t)i, name, 3) == 0)
			return i;
	return -1;
}

static bool is_number(char kind)
{
	return kind == 'D' || kind == 'Y' || kind == 'h' || kind == 'm' ||
	       kind == 's' || kind == '_';
}

static bool take_digit(char digit, int64_t *number)
{
	if (digit < '0' || digit > '9')
		return false;
	*number = *number * 10 + (digit - '0');
	return true;
}

static bool take(struct date *date, char kind, const char *at)
{
	int64_t number = 0;
	int *small = kind == 'D' || kind == '_' ? &date->day
		     : kind == 'h'              ? &date->hour
		     : kind == 'm'              ? &date->minute
						: &date->second;

	if (kind == 'Y')
		return take_digit(*at, &date->year);
	if (kind == '_' && *at == ' ')
		return true;
	number = *small;
	if (!take_digit(*at, &number))
		return false;
	*small = (int)number;
	return true;
}

static bool match(const char *pattern, const char *text, size_t length,
		  struct date *date)
{
	*date = (struct date){ 0 };
	if (length != strlen(pattern))
		return false;
	for (size_t i = 0; i < length; i++) {
		char kind = pattern[i];

		if (kind == 'w') {
			if (!is_letter(text[i]))
				return false;
		} else if (kind == 'M' && pattern[i + 1] == 'M' &&
			   pattern[i + 2] == 'M') {
			date->month = find_month(text + i);
			if (date->month < 0)
				return false;
			i += 2;
		} else if (is_number(kind)) {
			if (!take(date, kind, text + i))
				return false;
		} else if (text[i] != kind) {
			return false;
		}
	}
	return true;
}

static bool is_leap(int64_t year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static bool to_seconds(const struct date *date, int64_t *seconds)
{
	static const int lengths[] = { 31, 28, 31, 30, 31, 30,
				       31, 31, 30, 31, 30, 31 };
	int length = lengths[date->month] +
		     (date->month == 1 && is_leap(date->year));

	/* 60: a leap second. */
	if (date->year < 1601 || date->day < 1 || date->day > length ||
	    date->hour > 23 || date->minute > 59 || date->second > 60)
		return false;
	*seconds = days_of(date->year, date->month, date->day) * 86400 +
		   date->hour * 3600 + date->minute * 60 + date->second;
	return true;
}

/* RFC 9110, 5.6.7: more than fifty years ahead is meant to be past. */
static bool to_century(struct date *date, int64_t now, int64_t *seconds)
{
	struct date today;
	int weekday;

	split(now > 0 ? now : 0, &today, &weekday);
	date->year += today.year / 100 * 100;
	if (date->year > today.year + 50)
		date->year -= 100;
	return to_seconds(date, seconds);
}

bool http_date_read(const char *text, size_t length, int64_t now,
		    int64_t *seconds)
{
	struct date date;
	const char *comma = length > 0 ? memchr(text, ',', length) : NULL;

	if (match(fixed, text, length, &date) ||
	    match(asctime_form, text, length, &date))
		return to_seconds(&date, seconds);
	if (comma == NULL || comma - text < 6 || comma - text > 9)
		return false;
	for (const char *at = text; at < comma; at++)
		if (!is_letter(*at))
			return false;
	return match(rfc850, comma, length - (size_t)(comma - text), &date) &&
	       to_century(&date, now, seconds);
}
