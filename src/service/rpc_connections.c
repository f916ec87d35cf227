/* rpc_connections - whose ids this node holds, so that calls about them come
 * here. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/mem.h"
#include "base/must.h"
#include "service/rooms.h"
#include "service/rpc_internal.h"

#define UNIQUE_DIGITS 32
#define BUCKETS_FIRST 64

struct held {
	struct held *next;
	uint64_t hash; /* the first half of the id, which is random */
	struct rooms_client *client; /* NULL: no member of rooms */
	char id[];
};

struct rpc_connections {
	struct held **buckets;
	size_t bucket_count; /* a power of two */
	size_t count;
};

static uint64_t hash_of(const char *id)
{
	uint64_t hash = 0;

	for (size_t i = 0; i < 16; i++) {
		unsigned digit = (unsigned char)id[i];

		hash = hash << 4 | ((digit <= '9' ? digit : digit + 9) & 15);
	}
	return hash;
}

static bool is_id(const char *id, size_t length)
{
	return length > UNIQUE_DIGITS + 1 && id[UNIQUE_DIGITS] == '.' &&
	       strspn(id, "0123456789abcdef") == UNIQUE_DIGITS;
}

const char *rpc_server_of(const char *connection)
{
	return is_id(connection, strlen(connection))
		       ? connection + UNIQUE_DIGITS + 1
		       : NULL;
}

static struct held **place_of(const struct rpc_connections *connections,
			      const char *id, size_t length)
{
	struct held **place =
		&connections->buckets[hash_of(id) &
				      (connections->bucket_count - 1)];

	while (*place != NULL && (strlen((*place)->id) != length ||
				  memcmp((*place)->id, id, length) != 0))
		place = &(*place)->next;
	return place;
}

static void grow(struct rpc_connections *connections)
{
	size_t bucket_count = connections->bucket_count == 0
				      ? BUCKETS_FIRST
				      : connections->bucket_count * 2;
	/* NOLINTNEXTLINE(bugprone-sizeof-expression): pointers it is */
	struct held **buckets = mem_zalloc(bucket_count * sizeof(*buckets));

	for (size_t i = 0; i < connections->bucket_count; i++) {
		struct held *next;

		for (struct held *held = connections->buckets[i]; held != NULL;
		     held = next) {
			struct held **bucket =
				&buckets[held->hash & (bucket_count - 1)];

			next = held->next;
			held->next = *bucket;
			*bucket = held;
		}
	}
	free(connections->buckets);
	connections->buckets = buckets;
	connections->bucket_count = bucket_count;
}

bool rpc_holds(const struct rpc *rpc, const char *id, size_t length)
{
	return rpc->connections != NULL && is_id(id, length) &&
	       *place_of(rpc->connections, id, length) != NULL;
}

static struct held *find(const struct muster *muster, const char *id)
{
	const struct rpc_connections *connections =
		muster->rpc == NULL ? NULL : muster->rpc->connections;
	size_t length = strlen(id);

	if (connections == NULL || !is_id(id, length))
		return NULL;
	return *place_of(connections, id, length);
}

const char *rpc_connection_id(const struct muster *muster, const char *id)
{
	const struct held *held = find(muster, id);

	return held == NULL ? NULL : held->id;
}

struct rooms_client *rpc_connection_client(const struct muster *muster,
					   const char *id)
{
	const struct held *held = find(muster, id);

	return held == NULL ? NULL : held->client;
}

void rpc_connection_set(struct muster *muster, const char *id,
			struct rooms_client *client)
{
	struct held *held = find(muster, id);

	if (held != NULL)
		held->client = client;
}

static void free_held(struct held *held)
{
	struct rooms_client *client = held->client;

	if (client != NULL) {
		rooms_client_close(client);
		if (client->on_dropped != NULL)
			client->on_dropped(client);
	}
	free(held);
}

const char *muster_connection_hold(struct muster *muster)
{
	struct rpc *rpc = muster->rpc;
	size_t size = UNIQUE_DIGITS + 2 + strlen(muster->id);
	uint64_t unique[2];

	if (rpc->connections == NULL)
		rpc->connections = mem_zalloc(sizeof(*rpc->connections));
	struct rpc_connections *connections = rpc->connections;

	if (connections->count == connections->bucket_count)
		grow(connections);
	MUST(getrandom(unique, sizeof(unique), 0) == sizeof(unique));
	struct held *held = mem_alloc(sizeof(*held) + size);

	snprintf(held->id, size, "%016" PRIx64 "%016" PRIx64 ".%s", unique[0],
		 unique[1], muster->id);
	held->hash = hash_of(held->id);
	held->client = NULL;
	struct held **bucket =
		&connections->buckets[held->hash &
				      (connections->bucket_count - 1)];

	held->next = *bucket;
	*bucket = held;
	connections->count++;
	return held->id;
}

void muster_connection_drop(struct muster *muster, const char *id)
{
	struct rpc_connections *connections =
		muster->rpc == NULL ? NULL : muster->rpc->connections;

	if (connections == NULL || !is_id(id, strlen(id)))
		return;
	struct held **place = place_of(connections, id, strlen(id));
	struct held *held = *place;

	if (held == NULL)
		return;
	*place = held->next;
	connections->count--;
	free_held(held);
}

void rpc_connections_free(struct rpc_connections *connections)
{
	if (connections == NULL)
		return;
	for (size_t i = 0; i < connections->bucket_count; i++)
		while (connections->buckets[i] != NULL) {
			struct held *held = connections->buckets[i];

			connections->buckets[i] = held->next;
			free_held(held);
		}
	free(connections->buckets);
	free(connections);
}
