/*
 * websocket_sessions - sessions over WebSocket: /ws, and /primus as clients of
 * Primus speak it, whose pings and goodbyes are messages of their own.
 */
#pragma once
#include "server/session.h"
#include "server/websocket.h"

/*
 * Makes a request a session, or refuses it; http is gone when this returns. The
 * client's fingerprint is the query's or the cookie's sessionID, or else the
 * connection's id; a cookie that comes with a page of another origin is not
 * believed, as that page did not have to know it.
 */
void websocket_sessions_upgrade(struct sessions *sessions,
				struct websocket_server *server,
				struct muster_http *http, bool is_primus);
