/*
 * nearest - which of several words was meant by one that is none of them.
 */
#pragma once
#include <stddef.h>

struct nearest {
	const char *word;
	const char *best; /* NULL: nothing is near enough to be suggested */
	size_t distance;  /* of best; before that, what is too far */
};

struct nearest nearest_to(const char *word);
void nearest_offer(struct nearest *nearest, const char *candidate);
