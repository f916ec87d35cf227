#include "base/digits.h"

#include <string.h>

const uint64_t digits_powers[DIGITS_MAX] = {
	UINT64_C(1),
	UINT64_C(10),
	UINT64_C(100),
	UINT64_C(1000),
	UINT64_C(10000),
	UINT64_C(100000),
	UINT64_C(1000000),
	UINT64_C(10000000),
	UINT64_C(100000000),
	UINT64_C(1000000000),
	UINT64_C(10000000000),
	UINT64_C(100000000000),
	UINT64_C(1000000000000),
	UINT64_C(10000000000000),
	UINT64_C(100000000000000),
	UINT64_C(1000000000000000),
	UINT64_C(10000000000000000),
	UINT64_C(100000000000000000),
	UINT64_C(1000000000000000000),
	UINT64_C(10000000000000000000),
};

static const char pairs[] = "00010203040506070809"
			    "10111213141516171819"
			    "20212223242526272829"
			    "30313233343536373839"
			    "40414243444546474849"
			    "50515253545556575859"
			    "60616263646566676869"
			    "70717273747576777879"
			    "80818283848586878889"
			    "90919293949596979899";

/* A bit is 0.301 digits. */
static size_t count(uint64_t number)
{
	size_t bits = 64 - (size_t)__builtin_clzll(number | 1);
	size_t guess = bits * 1233 >> 12;

	return guess + (number >= digits_powers[guess] || number == 0);
}

size_t digits_put(char *to, uint64_t number)
{
	size_t length = count(number);
	char *at = to + length;

	for (; number >= 100; number /= 100) {
		at -= 2;
		memcpy(at, pairs + number % 100 * 2, 2);
	}
	if (number >= 10)
		memcpy(to, pairs + number * 2, 2);
	else
		*to = (char)('0' + number);
	return length;
}
