/*
 * Each worker asks all of them to say hello, and tells all what it found out.
 *
 *     hello_cluster [WORKERS]
 *
 * The cluster is this host's, in ~/.muster/store; with
 * MUSTER_STORE=redis://HOST and MUSTER_TOKEN it is one of many hosts.
 */
#include <stdio.h>
#include <stdlib.h>

#include <muster/cluster.h>
#include <muster/node.h>
#include <muster/pubsub.h>
#include <muster/rpc.h>

static void hello(struct muster_request *request)
{
	printf("Hello from the node %s\n",
	       muster_id(muster_request_server(request)));
	muster_request_reply(request, "true");
}

static void on_greeted(struct muster *muster, const struct muster_news *news,
		       void *arg)
{
	(void)arg;
	printf("%s hears that %s greeted %s\n", muster_id(muster), news->from,
	       news->payload);
}

static int start(struct muster *muster, void *arg)
{
	struct muster_gathered answers;

	if (muster_subscribe(muster, "greeted", on_greeted, NULL, NULL) < 0 ||
	    muster_gather(muster, "hello", NULL, 0, &answers) < 0 ||
	    muster_publish(muster, "greeted",
			   muster_json(muster, "{s:i}", "nodes",
				       (int)answers.count)) < 0)
		return -1;
	return muster_ready(arg);
}

int main(int argc, char **argv)
{
	static const struct muster_method methods[] = {
		{ .name = "hello", .run = hello },
		{ 0 },
	};
	struct muster_options options = {
		.workers = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 4,
	};
	struct muster_cluster *cluster =
		muster_cluster_open(argc, argv, &options);

	setlinebuf(stdout);
	if (cluster == NULL)
		return 1;
	if (muster_is_worker(cluster) &&
	    muster_open(cluster, &(struct muster_node_options){
					 .methods = methods,
					 .on_start = start,
					 .arg = cluster }) == NULL)
		return 1;
	return muster_cluster_run(cluster);
}
