/*
 * talk - a worker's clients that stay connected: brings the sessions of
 * WebSocket and TCP together with the cluster, whose draining they follow.
 */
#pragma once
#include <muster/cluster.h>
#include <muster/http.h>

#include "api/api.h"
#include "server/tcp.h"
#include "server/websocket_sessions.h"

struct talk_service;

struct talk_settings {
	struct sessions_settings sessions;
	struct websocket_settings websocket;
	struct tcp_limits tcp;
	/* The TCP listener is closed, and so are its connections. */
	void (*on_freed)(void *owner);
	void *owner;
};

/* Goes with the cluster. The api must last until its node has closed. */
struct talk_service *talk_open(struct muster_cluster *cluster,
			       const struct talk_settings *settings);

/* Cuts what is still connected, and takes nobody from now on: the node that
 * serves them closes. Not within a callback of theirs. NULL is fine. */
void talk_close(struct talk_service *service);

/* From the handler of an HTTP server, before talk_close(): http is gone when
 * this returns. */
void talk_upgrade(struct talk_service *service, struct muster_http *http,
		  bool is_primus);

/* As muster_listen_with(), with its failures; on_connection and arg of
 * `options` are not used. tls://HOST:PORT is over TLS, with the certificate,
 * whose failures are those of muster_http_listen_with(). Once. */
__attribute__((warn_unused_result)) int
talk_listen_tcp(struct talk_service *service, const char *url,
		const struct muster_listen_options *options,
		const struct muster_certificate *certificate);
