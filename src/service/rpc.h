/*
 * rpc - calls between the servers of a cluster, over the bus: what this node
 * asks of one (rpc_call.c) or of all (rpc_gather.c), how such a call waits
 * (rpc_pending.c) for its answers (rpc_answer.c), what others ask of this node
 * (rpc_callee.c), and who holds a connection (rpc_connections.c).
 *
 * Applications see include/muster/rpc.h. On the bus, "do" is
 *   {"id":ID,"method":NAME,"ttl":MS,"reply":BOOL[,"connectionId":ID],
 *    "args":VALUE}
 * and "doResponse", to the asking server alone,
 *   {"id":ID,"ok":true,"value":VALUE}
 *   {"id":ID,"ok":false,"error":WORD,"text":TEXT}
 */
#pragma once
#include <muster/rpc.h>

#include "service/node.h"

extern const struct node_part rpc_part;

/* The node has its bus from now on. */
void rpc_attach(struct muster *muster);
/* What a connection that the node holds does in rooms; NULL. */
struct rooms_client;
struct rooms_client *rpc_connection_client(const struct muster *muster,
					   const char *id);
void rpc_connection_set(struct muster *muster, const char *id,
			struct rooms_client *client);
/* Answers that nobody waited for any more; calls that had come before. */
void rpc_counts(const struct muster *muster, uint64_t *late,
		uint64_t *repeated);
