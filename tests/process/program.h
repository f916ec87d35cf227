/*
 * program - what the cluster programs of the tests have in common: they say
 * what happens, a line a write, and do what they are told on standard input.
 */
#pragma once
#include <muster/cluster.h>

/* The n-th argument of the program's own, "" where there is none. */
const char *argument(int argc, char **argv, int n);
int argument_number(int argc, char **argv, int n);

/* A line on standard output, in one write. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * Says each event:
 *   setup
 *   fork ID pid=P state=S
 *   online ID state=S
 *   listening ID host=H port=P type=T backlog=B url=U
 *   ready ID
 *   message ID CONTENT
 *   drain ID
 *   disconnect ID connected=C dead=D voluntary=V
 *   exit ID code=C signal=S voluntary=V dead=D state=S
 *   error ID code=C TEXT
 */
void say_events(struct muster_cluster *cluster);

/* Opens; ends the program where that fails. */
struct muster_cluster *open_cluster(int argc, char **argv,
				    const struct muster_options *options);
/* Ends the program, saying so, where a call failed. */
void must(struct muster_cluster *cluster, const char *call, int code);

/* Runs the cluster in a loop of the program's own, and calls with each line
 * that comes on standard input. */
typedef void (*command_fn)(struct muster_cluster *cluster, const char *line);
int run_with_commands(struct muster_cluster *cluster, command_fn on_command);

/* A connection callback: "WORKER PID\n", then closes. */
void answer_id(struct muster_connection *connection, void *cluster);
/* The same, and keeps the connection until the client or close_held() ends it.
 */
void answer_id_and_hold(struct muster_connection *connection, void *cluster);
void close_held(void);
/* A datagram callback: "WORKER PID CONTENT". */
void answer_datagram(struct muster_datagram *datagram, void *cluster);
/* An HTTP handler: "WORKER PID", after the milliseconds in the query's "ms". */
void answer_http(struct muster_http *http, void *cluster);
