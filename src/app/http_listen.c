/*
 * http_listen - introduces the cluster's listeners to the HTTP server: the
 * functions of muster/http.h that take a cluster.
 */
#include "app/http_listen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "app/secure.h"
#include "base/mem.h"
#include "base/must.h"
#include "cluster/cluster.h"
#include "cluster/listener.h"
#include "cluster/self.h"
#include "server/files.h"
#include "server/http.h"
#include "wire/network.h"

/* An HTTP server and where its connections come from. */
struct service {
	struct cluster_part part;
	struct muster_cluster *cluster;
	struct http_server *server;
	struct muster_http_options options;
	struct muster_listener *listener; /* NULL: connections are brought */
	struct http_listen_owner owner;
	struct loop_task freed;
};

/* A connection that was brought by muster_http_serve(). */
struct brought {
	struct muster_cluster *cluster;
	int descriptor;
};

static void free_service(struct service *service)
{
	cluster_remove_part(&service->part);
	loop_undefer(&service->freed);
	http_server_free(service->server);
	struct http_listen_owner owner = service->owner;

	free(service);
	if (owner.on_freed != NULL)
		owner.on_freed(owner.owner);
}

static void on_drain(struct cluster_part *part)
{
	struct service *service = LIST_ENTRY(part, struct service, part);

	http_server_drain(service->server);
	if (service->owner.on_drain != NULL)
		service->owner.on_drain(service->owner.owner);
}

static void on_close(struct cluster_part *part)
{
	struct service *service = LIST_ENTRY(part, struct service, part);

	if (service->listener != NULL)
		service->listener->on_freed = NULL;
	free_service(service);
}

static void run_freed(struct loop_task *task)
{
	free_service(LIST_ENTRY(task, struct service, freed));
}

/* The last connection tells from within the server, so it goes later. */
static void on_listener_freed(void *owner)
{
	struct service *service = owner;

	service->listener = NULL;
	loop_defer(service->cluster->loop, &service->freed);
}

/* NULL, and a problem: the access log cannot be written, or a certificate not
 * be used. */
static struct service *service_new(struct muster_cluster *cluster,
				   const struct muster_http_options *options,
				   bool is_secure,
				   const struct http_listen_owner *owner)
{
	struct access_log *access_log = NULL;
	struct tls_context *tls = NULL;

	if (is_secure &&
	    secure_open(cluster, &options->certificate, options->others,
			http_protocols, http_plain_reply, &tls) < 0)
		return NULL;
	/* The primary serves nobody. */
	if (options->access_log != NULL && !muster_is_primary(cluster) &&
	    access_log_open(cluster->loop, options->access_log,
			    options->access_log_format, &cluster->problem,
			    &access_log) < 0) {
		tls_context_free(tls);
		return NULL;
	}
	struct service *service = mem_zalloc(sizeof(*service));
	struct http_settings settings = {
		.handler = options->handler,
		.on_head = options->on_head,
		.arg = options->arg,
		.limits = options->limits,
		.server = options->server,
		.gzip_bytes = options->gzip_bytes,
		.trusted_proxies = options->trusted_proxies,
		.trusts_forwarded = options->trusts_forwarded,
		.access_log = access_log,
		.tls = tls,
		.refuse = owner->refuse,
		.wants_head = owner->wants_head,
		.meters = cluster->self != NULL ? self_meters(cluster->self)
						: NULL,
		.drain_idle_ms = cluster->self != NULL
					 ? self_drain_idle_ms(cluster->self)
					 : cluster->options.drain_idle_ms,
	};

	service->cluster = cluster;
	service->options = *options;
	service->part.on_drain = on_drain;
	service->part.on_close = on_close;
	service->freed.run = run_freed;
	service->server = http_server_new(cluster->loop, &settings);
	cluster_add_part(cluster, &service->part);
	if (muster_is_draining(cluster))
		http_server_drain(service->server);
	return service;
}

static void on_connection_closed(void *token)
{
	connection_finish(token);
}

static void on_connection(struct muster_connection *connection, void *arg)
{
	struct service *service = arg;

	http_server_take(service->server,
			 muster_connection_descriptor(connection),
			 on_connection_closed, connection);
}

static int check(struct muster_cluster *cluster,
		 const struct muster_http_options *options)
{
	struct network_list trusted;

	if (options->trusted_proxies != NULL) {
		int error = network_list_read(
			&trusted, options->trusted_proxies, &cluster->problem);

		if (error < 0)
			return error;
		network_list_fini(&trusted);
	}
	if (options->handler != NULL)
		return 0;
	return problem_set(&cluster->problem, -EINVAL, "LISTEN_NO_CALLBACK",
			   "an HTTP server needs a handler (set "
			   "muster_http_options.handler)");
}

int http_listen(struct muster_cluster *cluster, const char *url,
		const struct muster_http_options *options,
		const struct http_listen_owner *owner,
		struct muster_listener **listener_out)
{
	struct muster_listen_options listen = options->listen;
	struct secure_url where;
	int error = check(cluster, options);

	if (error < 0)
		return error;
	error = secure_read_url(cluster, url, "https://", &options->certificate,
				&where);
	if (error < 0)
		return error;
	struct service *service =
		service_new(cluster, options, where.is_secure, owner);

	if (service == NULL)
		return cluster->problem.code;
	listen.on_connection = on_connection;
	listen.on_datagram = NULL;
	listen.arg = service;
	error = muster_listen_with(cluster, where.plain, &listen,
				   &service->listener);
	if (error < 0) {
		free_service(service);
		return error;
	}
	service->listener->on_freed = on_listener_freed;
	service->listener->owner = service;
	service->owner = *owner;
	if (listener_out != NULL)
		*listener_out = service->listener;
	return 0;
}

int muster_http_listen_with(struct muster_cluster *cluster, const char *url,
			    const struct muster_http_options *options,
			    struct muster_listener **listener)
{
	return http_listen(cluster, url, options,
			   &(struct http_listen_owner){ 0 }, listener);
}

int muster_http_listen(struct muster_cluster *cluster, const char *url,
		       muster_http_fn handler, void *arg)
{
	return muster_http_listen_with(
		cluster, url,
		&(struct muster_http_options){ .handler = handler, .arg = arg },
		NULL);
}

static void on_brought_closed(void *token)
{
	struct brought *brought = token;
	struct muster_cluster *cluster = brought->cluster;

	close(brought->descriptor);
	free(brought);
	cluster_release(cluster);
}

static bool is_same(const struct muster_http_options *one,
		    const struct muster_http_options *other)
{
	return one->handler == other->handler &&
	       one->on_head == other->on_head && one->arg == other->arg &&
	       one->server == other->server &&
	       one->gzip_bytes == other->gzip_bytes &&
	       one->trusted_proxies == other->trusted_proxies &&
	       one->trusts_forwarded == other->trusts_forwarded &&
	       one->access_log == other->access_log &&
	       one->access_log_format == other->access_log_format &&
	       one->certificate.certificate == other->certificate.certificate &&
	       one->certificate.key == other->certificate.key &&
	       one->others == other->others &&
	       memcmp(&one->limits, &other->limits, sizeof(one->limits)) == 0;
}

/* One server for all connections that are brought with the same options. */
static struct service *find_service(struct muster_cluster *cluster,
				    const struct muster_http_options *options)
{
	LIST_EACH (&cluster->parts, link) {
		struct cluster_part *part =
			LIST_ENTRY(link, struct cluster_part, link);
		struct service *service =
			LIST_ENTRY(part, struct service, part);

		if (part->on_close == on_close && service->listener == NULL &&
		    !list_is_linked(&service->freed.link) &&
		    is_same(&service->options, options))
			return service;
	}
	return service_new(cluster, options,
			   options->certificate.certificate != NULL,
			   &(struct http_listen_owner){ 0 });
}

int muster_http_serve(struct muster_cluster *cluster, int descriptor,
		      const struct muster_http_options *options)
{
	int error = check(cluster, options);
	int flags = fcntl(descriptor, F_GETFL);

	if (error < 0)
		return error;
	if (flags < 0 || fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(descriptor, F_SETFD, FD_CLOEXEC) < 0)
		return problem_set(&cluster->problem, -errno, "SERVE_FAILED",
				   "descriptor %d cannot be served: %s",
				   descriptor, strerror(errno));
	struct service *service = find_service(cluster, options);

	if (service == NULL)
		return cluster->problem.code;
	struct brought *brought = mem_alloc(sizeof(*brought));

	*brought = (struct brought){ cluster, descriptor };
	cluster_hold(cluster);
	http_server_take_later(service->server, descriptor, on_brought_closed,
			       brought);
	return 0;
}

/* ---- Files ---- */

int muster_http_files_open(struct muster_cluster *cluster,
			   const struct muster_http_files_options *options,
			   struct muster_http_files **files)
{
	return files_open(cluster->loop, options, &cluster->problem,
			  (struct files **)files);
}

void muster_http_files_close(struct muster_http_files *files)
{
	files_close((struct files *)files);
}

int muster_http_reply_file(struct muster_http *http,
			   struct muster_http_files *files, const char *path)
{
	return files_reply((struct files *)files, http, path);
}
