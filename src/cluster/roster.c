#include "cluster/roster.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/must.h"

struct entry {
	uint32_t berth;
	uint32_t limit;
	struct roster_load load;
};

struct roster {
	enum muster_schedule schedule;
	struct entry *entries; /* in the order they joined */
	size_t count;
	size_t next; /* whose turn it is */
};

static struct entry *find(struct roster *roster, uint32_t berth)
{
	for (size_t i = 0; i < roster->count; i++)
		if (roster->entries[i].berth == berth)
			return &roster->entries[i];
	return NULL;
}

struct roster *roster_new(enum muster_schedule schedule)
{
	struct roster *roster = mem_zalloc(sizeof(*roster));

	roster->schedule = schedule;
	return roster;
}

void roster_free(struct roster *roster)
{
	if (roster == NULL)
		return;
	free(roster->entries);
	free(roster);
}

size_t roster_count(const struct roster *roster)
{
	return roster->count;
}

int roster_add(struct roster *roster, uint32_t berth, uint32_t limit)
{
	if (find(roster, berth) != NULL)
		return -EEXIST;
	roster->entries = mem_resize(roster->entries, roster->count + 1,
				     sizeof(*roster->entries));
	roster->entries[roster->count++] =
		(struct entry){ .berth = berth, .limit = limit };
	return 0;
}

void roster_remove(struct roster *roster, uint32_t berth)
{
	struct entry *entry = find(roster, berth);

	if (entry == NULL)
		return;
	size_t gap = (size_t)(entry - roster->entries);

	roster->count--;
	memmove(entry, entry + 1, (roster->count - gap) * sizeof(*entry));

	/* The turn stays with the same worker; past the end, a new round. */
	if (roster->next > gap)
		roster->next--;
	if (roster->next == roster->count)
		roster->next = 0;
}

uint32_t roster_berth(const struct roster *roster, size_t index)
{
	MUST(index < roster->count);
	return roster->entries[index].berth;
}

void roster_set_load(struct roster *roster, uint32_t berth,
		     const struct roster_load *load)
{
	struct entry *entry = find(roster, berth);

	MUST(entry != NULL);
	entry->load = *load;
}

static bool can_take(const struct entry *entry)
{
	return !entry->load.is_stuck && entry->load.seats > 0 &&
	       (entry->limit == 0 || entry->load.open_here < entry->limit);
}

bool roster_has_room(const struct roster *roster)
{
	for (size_t i = 0; i < roster->count; i++)
		if (can_take(&roster->entries[i]))
			return true;
	return false;
}

static bool has_refused(const struct entry *entry, const uint32_t *refusers,
			size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (refusers[i] == entry->berth)
			return true;
	return false;
}

enum roster_answer roster_pick(struct roster *roster, const uint32_t *refusers,
			       size_t refuser_count, uint32_t *berth)
{
	struct entry *best = NULL;
	size_t best_turn = 0;
	size_t refused = 0;

	for (size_t passed = 0; passed < roster->count; passed++) {
		size_t turn = (roster->next + passed) % roster->count;
		struct entry *entry = &roster->entries[turn];

		if (has_refused(entry, refusers, refuser_count)) {
			refused++;
			continue;
		}
		if (!can_take(entry))
			continue;
		if (best == NULL || entry->load.open < best->load.open) {
			best = entry;
			best_turn = turn;
		}
		if (roster->schedule == MUSTER_ROUND_ROBIN)
			break;
	}
	if (best == NULL)
		return refused > 0 && refused == roster->count
			       ? ROSTER_ALL_REFUSED
			       : ROSTER_ALL_BUSY;
	best->load.open++;
	best->load.open_here++;
	best->load.seats--;
	roster->next = (best_turn + 1) % roster->count;
	*berth = best->berth;
	return ROSTER_OK;
}
