#include "app/secure.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cluster/board.h"
#include "cluster/cluster.h"
#include "cluster/self.h"

static bool has_scheme(const char *url)
{
	return strstr(url, "://") != NULL || strchr(url, '/') != NULL ||
	       strncmp(url, "unix:", strlen("unix:")) == 0;
}

int secure_read_url(struct muster_cluster *cluster, const char *url,
		    const char *scheme, const struct muster_certificate *own,
		    struct secure_url *where)
{
	size_t length = strlen(scheme);

	where->is_secure = strncmp(url, scheme, length) == 0;
	if (!where->is_secure && own->certificate != NULL && !has_scheme(url))
		return problem_set(&cluster->problem, -EINVAL,
				   "ADDRESS_INVALID",
				   "cannot listen on '%.80s': there is a "
				   "certificate, but not whether to use it "
				   "(write %s%.80s, or tcp:// where it is not)",
				   url, scheme, url);
	int written = snprintf(where->plain, sizeof(where->plain), "%s%s",
			       where->is_secure ? "tcp://" : "",
			       where->is_secure ? url + length : url);

	if (written >= 0 && (size_t)written < sizeof(where->plain))
		return 0;
	return problem_set(&cluster->problem, -EINVAL, "ADDRESS_INVALID",
			   "cannot listen on '%.80s...': it is too long", url);
}

/* What the board and OpenSSL call the same. */
_Static_assert(sizeof(struct board_key) == sizeof(struct tls_ticket_key),
	       "keys are of one form");

static bool find_key(void *owner, unsigned age, struct tls_ticket_key *key)
{
	struct board_key found;

	if (!board_find_key(cluster_board(owner), age, &found))
		return false;
	memcpy(key->name, found.name, sizeof(key->name));
	memcpy(key->cipher, found.cipher, sizeof(key->cipher));
	memcpy(key->mac, found.mac, sizeof(key->mac));
	explicit_bzero(&found, sizeof(found));
	return true;
}

/* One process tells what is odd, or each worker would say it. */
static const struct log *log_of(const struct muster_cluster *cluster)
{
	bool tells =
		cluster->self == NULL || self_worker(cluster->self)->id == 1;

	return tells ? &cluster->log : NULL;
}

static size_t count(const struct muster_certificate *list)
{
	size_t length = 0;

	while (list != NULL && list[length].certificate != NULL)
		length++;
	return length;
}

int secure_open(struct muster_cluster *cluster,
		const struct muster_certificate *own,
		const struct muster_certificate *others,
		const char *const *protocols, const char *plain_reply,
		struct tls_context **context)
{
	size_t other_count = count(others);
	struct tls_pair *pairs = mem_zalloc((other_count + 1) * sizeof(*pairs));
	const struct tls_settings settings = {
		.is_server = true,
		.own = { own->certificate, own->key },
		.others = pairs,
		.other_count = other_count,
		.protocols = protocols,
		.ticket_key = find_key,
		.ticket_owner = cluster,
		.plain_reply = plain_reply,
		.log = log_of(cluster),
	};

	for (size_t i = 0; i < other_count; i++)
		pairs[i] = (struct tls_pair){ others[i].certificate,
					      others[i].key };
	*context = tls_context_new(&settings, &cluster->problem);
	free(pairs);
	return *context != NULL ? 0 : cluster->problem.code;
}
