/*
 * Four workers that share a cache: all of them need a report that takes half a
 * second, and one of them makes it.
 *
 *     shared_cache [WORKERS]
 *
 * The cache is embedded, in ~/.muster/store; with
 * MUSTER_STORE=redis://HOST and MUSTER_TOKEN it is that of many hosts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <muster/cache.h>
#include <muster/cluster.h>
#include <muster/node.h>

static int make_report(struct muster *muster, const char *key,
		       struct muster_computed *report, void *arg)
{
	(void)key;
	(void)arg;
	printf("%s makes the report\n", muster_id(muster));
	if (muster_sleep(muster, 500) < 0)
		return -1;
	report->data = muster_text(muster, "made by %s", muster_id(muster));
	report->length = strlen(report->data);
	return 0;
}

static int start(struct muster *muster, void *arg)
{
	static const struct muster_cache_compute_options report = {
		.fn = make_report,
		.ttl_ms = 60 * 1000,
		.stale_ms = 5 * 1000,
	};
	struct muster_cached cached;
	int64_t reader = 0;
	int answer = muster_cache_compute(muster, "report", &report, &cached);

	if (answer == 0)
		answer = muster_cache_add(muster, "readers", 1, 0, &reader);
	if (answer == 0)
		printf("%s is reader %lld of the report %s\n",
		       muster_id(muster), (long long)reader, cached.data);
	return answer == 0 ? muster_ready(arg) : answer;
}

int main(int argc, char **argv)
{
	struct muster_options options = {
		.workers = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 4,
	};
	struct muster_cluster *cluster =
		muster_cluster_open(argc, argv, &options);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_worker(cluster) &&
	    muster_open(cluster,
			&(struct muster_node_options){
				.on_start = start, .arg = cluster }) == NULL)
		return 1;
	return muster_cluster_run(cluster);
}
