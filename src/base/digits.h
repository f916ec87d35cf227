/*
 * digits - numbers as text, two digits at a time: a division by 100 takes as
 * long as one by 10.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

#define DIGITS_MAX 20 /* of a uint64_t */

/* 1, 10, 100 and so on. */
extern const uint64_t digits_powers[DIGITS_MAX];

/* Decimal, without a NUL; returns how many there are. */
size_t digits_put(char *to, uint64_t number);
