/*
 * peers - the node's name, its word to the others that it lives, and what it
 * knows of them.
 *
 * The node's first part: after its start muster->id is a name that no other
 * has. Its fiber pings every ping_ms and then looks at all records: who is
 * new, silent, dead, gone. A dead peer is buried by one of those who see it:
 * first what it owned is handed back (node_reap()), then its record is
 * removed, so that if the one who does it dies over it, another does it again.
 * Who was removed and lives finds its record gone, and joins anew under
 * another nonce.
 *
 * Applications see include/muster/peer.h.
 */
#pragma once
#include <muster/peer.h>

#include "service/node.h"

extern const struct node_part peers_part;

/* The process `pid` of this machine has ended, says who has watched it. From
 * the loop. */
void peers_died(struct muster *muster, int pid);

/* Has this node seen such a peer, when it last looked? Guests do not look. */
bool peers_knows(const struct muster *muster, const char *id);

/* APP-worker-N as the cluster wants names: lower case, digits, '.', '-', a
 * number at the end, none of the words that mean something else. */
bool peers_is_id(const char *id);
