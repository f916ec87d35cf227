#include "base/nearest.h"

#include <string.h>

/* Longer words are compared by their beginning. */
#define LENGTH_MAX 31u

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* How many letters must be changed, added, left out or swapped with their
 * neighbour to get from one word to the other. */
static size_t distance(const char *from, const char *to)
{
	size_t rows = smaller(strlen(from), LENGTH_MAX);
	size_t columns = smaller(strlen(to), LENGTH_MAX);
	size_t cost[LENGTH_MAX + 1][LENGTH_MAX + 1];

	for (size_t i = 0; i <= rows; i++)
		cost[i][0] = i;
	for (size_t j = 0; j <= columns; j++)
		cost[0][j] = j;
	for (size_t i = 1; i <= rows; i++) {
		for (size_t j = 1; j <= columns; j++) {
			size_t change = from[i - 1] == to[j - 1] ? 0 : 1;
			size_t best = cost[i - 1][j - 1] + change;

			best = smaller(best, cost[i - 1][j] + 1);
			best = smaller(best, cost[i][j - 1] + 1);
			if (i > 1 && j > 1 && from[i - 1] == to[j - 2] &&
			    from[i - 2] == to[j - 1])
				best = smaller(best, cost[i - 2][j - 2] + 1);
			cost[i][j] = best;
		}
	}
	return cost[rows][columns];
}

struct nearest nearest_to(const char *word)
{
	/* A third of the letters wrong, and two at least, is another word. */
	size_t too_far = strlen(word) / 3 + 1;

	return (struct nearest){
		.word = word,
		.distance = too_far < 3 ? 3 : too_far,
	};
}

void nearest_offer(struct nearest *nearest, const char *candidate)
{
	size_t length = strlen(nearest->word);
	size_t away = distance(nearest->word, candidate);

	/* The beginning of a word counts as near it. */
	if (length >= 2 && strncmp(nearest->word, candidate, length) == 0)
		away = 1;
	if (away < nearest->distance && away < strlen(candidate)) {
		nearest->best = candidate;
		nearest->distance = away;
	}
}
