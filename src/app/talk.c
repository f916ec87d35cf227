#include "app/talk.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cluster/cluster.h"
#include "cluster/listener.h"

#define DRAIN_MS 5000

struct talk_service {
	struct cluster_part part;
	struct muster_cluster *cluster;
	struct sessions *sessions;
	struct websocket_server *websocket;
	struct tcp_server *tcp;
	uint32_t drain_ms;
};

static void on_drain(struct cluster_part *part)
{
	struct talk_service *service =
		LIST_ENTRY(part, struct talk_service, part);

	websocket_server_drain(service->websocket, service->drain_ms);
	tcp_server_drain(service->tcp, service->drain_ms);
}

static void on_close(struct cluster_part *part)
{
	struct talk_service *service =
		LIST_ENTRY(part, struct talk_service, part);

	cluster_remove_part(part);
	websocket_server_free(service->websocket);
	tcp_server_free(service->tcp);
	sessions_free(service->sessions);
	free(service);
}

struct talk_service *talk_open(struct muster_cluster *cluster,
			       const struct talk_settings *settings)
{
	struct talk_service *service = mem_zalloc(sizeof(*service));

	service->cluster = cluster;
	service->drain_ms =
		settings->drain_ms == 0 ? DRAIN_MS : settings->drain_ms;
	service->sessions = sessions_new(&(struct sessions_settings){
		.api = settings->api, .welcome = settings->welcome });
	service->websocket =
		websocket_server_new(cluster->loop, &settings->websocket);
	service->tcp = tcp_server_new(cluster->loop, service->sessions,
				      &settings->tcp);
	service->part.on_drain = on_drain;
	service->part.on_close = on_close;
	cluster_add_part(cluster, &service->part);
	if (muster_is_draining(cluster))
		on_drain(&service->part);
	return service;
}

void talk_upgrade(struct talk_service *service, struct muster_http *http,
		  bool is_primus)
{
	websocket_sessions_upgrade(service->sessions, service->websocket, http,
				   is_primus);
}

static void on_connection_closed(void *token)
{
	connection_finish(token);
}

static void on_connection(struct muster_connection *connection, void *arg)
{
	struct talk_service *service = arg;

	tcp_server_take(service->tcp, muster_connection_descriptor(connection),
			on_connection_closed, connection);
}

int talk_listen_tcp(struct talk_service *service, const char *url,
		    const struct muster_listen_options *options,
		    struct muster_listener **listener)
{
	struct muster_listen_options listen = { 0 };

	if (options != NULL)
		listen = *options;
	listen.on_connection = on_connection;
	listen.on_datagram = NULL;
	listen.arg = service;
	return muster_listen_with(service->cluster, url, &listen, listener);
}
