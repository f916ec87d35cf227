#include "app/talk.h"

#include <stdlib.h>
#include <string.h>

#include "app/secure.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "cluster/listener.h"
#include "cluster/self.h"

struct talk_service {
	struct cluster_part part;
	struct muster_cluster *cluster;
	struct sessions *sessions;
	struct websocket_server *websocket; /* NULL: closed */
	struct tcp_server *tcp;             /* the same */
	struct tls_context *tls;            /* of TCP; NULL: none */
	struct muster_listener *listener;   /* NULL: none, or freed */
	struct loop_task freed;
	void (*on_freed)(void *owner);
	void *owner;
};

/* What runs gets a part of the time that the worker has: its goodbyes have to
 * be heard, and its node to close, within the rest. */
static void on_drain(struct cluster_part *part)
{
	struct talk_service *service =
		LIST_ENTRY(part, struct talk_service, part);
	uint32_t drain_ms = self_drain_ms(service->cluster->self) / 10 * 6;

	if (service->websocket == NULL)
		return;
	websocket_server_drain(service->websocket, drain_ms);
	tcp_server_drain(service->tcp, drain_ms);
}

void talk_close(struct talk_service *service)
{
	if (service == NULL || service->websocket == NULL)
		return;
	websocket_server_free(service->websocket);
	tcp_server_free(service->tcp);
	sessions_close_files(service->sessions);
	service->websocket = NULL;
	service->tcp = NULL;
}

static void on_close(struct cluster_part *part)
{
	struct talk_service *service =
		LIST_ENTRY(part, struct talk_service, part);

	if (service->listener != NULL)
		service->listener->on_freed = NULL;
	cluster_remove_part(part);
	loop_undefer(&service->freed);
	talk_close(service);
	tls_context_free(service->tls);
	sessions_free(service->sessions);
	free(service);
}

static void run_freed(struct loop_task *task)
{
	struct talk_service *service =
		LIST_ENTRY(task, struct talk_service, freed);

	service->on_freed(service->owner);
}

struct talk_service *talk_open(struct muster_cluster *cluster,
			       const struct talk_settings *settings)
{
	struct talk_service *service = mem_zalloc(sizeof(*service));

	service->cluster = cluster;
	service->on_freed = settings->on_freed;
	service->owner = settings->owner;
	service->freed.run = run_freed;
	service->sessions = sessions_new(&settings->sessions);
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
	int descriptor = muster_connection_descriptor(connection);

	if (service->tcp == NULL)
		muster_connection_close(connection);
	else if (service->tls != NULL)
		tcp_server_take_secure(service->tcp, descriptor, service->tls,
				       on_connection_closed, connection);
	else
		tcp_server_take(service->tcp, descriptor, on_connection_closed,
				connection);
}

/* The last connection tells from within the server, so it goes later. */
static void on_listener_freed(void *owner)
{
	struct talk_service *service = owner;

	service->listener = NULL;
	loop_defer(service->cluster->loop, &service->freed);
}

int talk_listen_tcp(struct talk_service *service, const char *url,
		    const struct muster_listen_options *options,
		    const struct muster_certificate *certificate)
{
	struct muster_listen_options listen = *options;
	struct secure_url where;
	int error = secure_read_url(service->cluster, url, "tls://",
				    certificate, &where);

	if (error == 0 && where.is_secure)
		error = secure_open(service->cluster, certificate, NULL, NULL,
				    NULL, &service->tls);
	if (error < 0)
		return error;

	listen.on_connection = on_connection;
	listen.on_datagram = NULL;
	listen.arg = service;
	error = muster_listen_with(service->cluster, where.plain, &listen,
				   &service->listener);

	if (error < 0) {
		service->listener = NULL;
		return error;
	}
	service->listener->on_freed = on_listener_freed;
	service->listener->owner = service;
	return 0;
}
