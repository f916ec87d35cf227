/*
 * obedient - a program that does what the test tells it, so that a test reads
 * from top to bottom in one place.
 *
 * The primary is told on its standard input and says "done COMMAND code=C"
 * after each command:
 *
 *   fork, scale N, reload, disconnect, stop CODE, count, echo TEXT
 *   disconnect ID, kill ID SIGNAL, state ID, send ID CONTENT,
 *   tell ID TEXT      an order for a worker, see below
 *   listen URL [OPTION...], unlisten N, unref N
 *
 * Its workers are told by messages:
 *
 *   listen URL [OPTION...]   says "worker ID listener=N host=H port=P type=T"
 *                            or "worker ID listen URL code=C name=N"; options:
 *                            hold refuse http udp exclusive ipv6_only
 *                            reuse_address readable_all writable_all
 *                            backlog=N max=N schedule=S
 *   unlisten N, unref N, close (what it holds), exit CODE, disconnect, kill,
 *   spin (for ever), busy MS, say TEXT, reply TEXT (to the primary), ready, cut
 * (its end of the channel)
 */
#pragma once

/* The code of a command for a worker whose slot nobody holds. */
#define NOBODY_HAS_IT 2
#include <muster/cluster.h>

/*
 * The program. Its arguments are fork=N (workers to begin with), the members
 * of struct muster_options (workers=2, hang_ms=500, wait_ready=1...), schedule=
 * and serialization=, and listen=URL,OPTION,... which each worker listens at
 * from its start on.
 */
int obedient(int argc, char **argv);

/* Its parts, for programs that differ. */
struct muster_cluster *open_obedient(int argc, char **argv);
void common_command(struct muster_cluster *cluster, const char *line);
void obey(struct muster_cluster *cluster);
/* Listens where the program's arguments say so. */
void listen_as_told(struct muster_cluster *cluster, int argc, char **argv);
