/*
 * talk - a worker's clients that stay connected: brings the sessions of
 * WebSocket and TCP together with the cluster, whose draining they follow.
 */
#pragma once
#include <muster/cluster.h>

#include "api/api.h"
#include "server/tcp.h"
#include "server/websocket_sessions.h"

struct talk_service;

struct talk_settings {
	struct api *api;
	const char *welcome;
	struct websocket_settings websocket;
	struct tcp_limits tcp;
	uint32_t drain_ms; /* for what runs when told to go; 0: 5,000 */
};

/* Goes with the cluster. The api must last until its node has closed. */
struct talk_service *talk_open(struct muster_cluster *cluster,
			       const struct talk_settings *settings);

/* From the handler of an HTTP server: http is gone when this returns. */
void talk_upgrade(struct talk_service *service, struct muster_http *http,
		  bool is_primus);

/* As muster_listen_with(), with its failures; on_connection and arg of
 * `options` are not used. `options` and `listener` may be NULL. */
__attribute__((warn_unused_result)) int
talk_listen_tcp(struct talk_service *service, const char *url,
		const struct muster_listen_options *options,
		struct muster_listener **listener);
