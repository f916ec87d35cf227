/*
 * muster/cluster.h - run a program as a cluster of processes on one host.
 *
 * A primary process starts workers, which are fresh executions of the same
 * program (or of another one), shares listening sockets out among them,
 * exchanges messages and descriptors with them, replaces those that die and
 * rolls over to a new version without dropping a request.
 *
 *     struct muster_cluster *cluster = muster_cluster_open(argc, argv, NULL);
 *
 *     if (muster_is_primary(cluster))
 *             muster_fork(cluster, NULL, NULL);
 *     else
 *             muster_listen(cluster, "tcp://0.0.0.0:8000", on_client, NULL);
 *     return muster_cluster_run(cluster);
 *
 * Rules that hold for every function here:
 * - One thread: a cluster and all that belongs to it is used by the thread
 *   that opened it. Callbacks run on that thread and must not block for long;
 *   a worker that does not answer for `hang_ms` is ended.
 * - 0 is done, a positive value is an answer listed beside the function, a
 *   negative value is -errno. For a sentence that a person can read see
 *   muster_problem_text().
 * - A zeroed options struct means sane defaults. Times are milliseconds.
 * - Text and structs given to a function are copied. Text and structs given
 *   to a callback are good until it returns.
 */
#ifndef MUSTER_CLUSTER_H
#define MUSTER_CLUSTER_H

#include <muster/types.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct muster_cluster;
struct muster_worker;
struct muster_message;
struct muster_listener;
struct muster_connection;
struct muster_datagram;
struct muster_timer;

/* A message's content and the descriptors that travel with it: see
 * muster_send(). The longest content. */
#define MUSTER_MESSAGE_MAX     (16u * 1024 * 1024)
#define MUSTER_DESCRIPTORS_MAX 64u

/* For muster_options.workers: as many as the cores this process may use. */
#define MUSTER_PER_CORE (-1)

/* Who gets the next connection. */
enum muster_schedule {
	MUSTER_SCHEDULE_DEFAULT = 0, /* MUSTER_SCHED_POLICY, else least */
	MUSTER_LEAST,       /* the worker with the fewest open connections */
	MUSTER_ROUND_ROBIN, /* strict turns over the workers that keep up */
	MUSTER_SHARED,    /* workers accept on one socket and keep in balance */
	MUSTER_REUSEPORT, /* a socket a worker, the kernel hashes */
};

/* What a message may hold. Both sides are told by the primary's settings. */
enum muster_serialization {
	MUSTER_JSON = 0, /* one JSON value, checked when it is sent */
	MUSTER_BYTES,
};

/* Entries of muster_settings.stdio that are not descriptors. */
enum muster_stdio {
	MUSTER_STDIO_NULL = -1, /* reads nothing, writes are dropped */
	MUSTER_STDIO_PIPE = -2, /* see muster_on_output, muster_worker_write */
	MUSTER_STDIO_CHANNEL = -3, /* the channel; exactly one */
};

/*
 * How workers are started. In muster_setup_primary() a zeroed field leaves
 * the setting as it is; what is set is in force for later forks only.
 */
struct muster_settings {
	const char *exec;        /* program file; default: this program */
	const char *const *args; /* NULL-ended, without argv[0]; default: own */
	const char *const *env; /* NULL-ended "K=V", added to own environment */
	const char *cwd;        /* default: own */
	uid_t uid;              /* 0: own */
	gid_t gid;              /* 0: own */
	bool silent; /* output comes by muster_on_output, not to own output */
	/* A worker's whole descriptor table, in place of `silent`: entry i is
	 * what it finds as descriptor i: a descriptor of the caller's (which
	 * stays open until the fork) or one of enum muster_stdio. */
	const int *stdio;
	size_t stdio_count;
	/* What workers find after 0, 1, 2 and the channel, as 4, 5, ... */
	const int *descriptors;
	size_t descriptor_count;
	enum muster_schedule schedule; /* frozen by the first fork */
	enum muster_serialization serialization;
};

/* How the cluster lives. 0 is the default named beside each. */
struct muster_options {
	const char *name; /* worker N is NAME-worker-N; the program's name */
	int workers;      /* kept at this number; 0: the application forks */
	struct muster_settings settings;

	uint32_t ready_ms; /* a worker must be ready within; 30,000 */
	bool wait_ready;   /* ready is muster_ready(), not the first listen */
	uint32_t min_uptime_ms; /* dead before is dead young; 1,000 */
	uint32_t drain_ms;      /* time to finish after disconnect; 30,000 */
	uint32_t drain_idle_ms; /* idle keep-alive peers get; 2,000 */
	uint32_t kill_ms;       /* from TERM to KILL; 5,000 */
	uint32_t hang_ms;       /* silent for so long is ended; 30,000 */
	bool no_hang_check;

	uint32_t backoff_ms;     /* before a worker that died young; 100 */
	uint32_t backoff_max_ms; /* doubled up to, with jitter; 15,000 */
	uint32_t failures_max;   /* of one slot, young, within the window; 8 */
	uint32_t failure_window_ms; /* 60,000; then the pool reports failure */

	uint32_t max_surge;       /* reload: how many above the number; 1 */
	uint32_t max_unavailable; /* reload: how many below; 0 */

	/* How long a key seals the tickets of TLS sessions, which every worker
	 * can resume; it opens them for twice as long after. An hour. */
	uint32_t ticket_ms;

	bool no_signals; /* leave TERM, INT, HUP, USR2, TTIN... alone */
	const char *log; /* off error warn info debug; MUSTER_LOG, else warn */
};

/*
 * Opens the cluster and finds out which role this process has: it is a worker
 * where a primary started it (MUSTER_CHANNEL_FD is set, and is removed from
 * the environment), else a primary. `argv` is what workers are started with
 * again; it is read at the first setup or fork, and must last until then. NULL
 * options are all defaults. A worker takes from `options` what concerns workers
 * and ignores the rest.
 *
 * NULL with errno set where the channel cannot be used: EPROTO, the primary
 * speaks another version; ETIMEDOUT, it does not speak. A line on stderr says
 * so. Never NULL in a primary.
 */
MUSTER_PUBLIC MUSTER_MUST_READ struct muster_cluster *
muster_cluster_open(int argc, char *const *argv,
		    const struct muster_options *options);

/*
 * Runs until nothing is left to do, closes the cluster, and returns what main
 * should return. A primary ends when its workers have; a worker when it was
 * told to go and has finished, or has nothing that could call it back (no
 * listener, no connection, no timer, no message handler).
 *
 * 0; 1 where the pool reported failure.
 */
MUSTER_PUBLIC int muster_cluster_run(struct muster_cluster *cluster);

/* Ends muster_cluster_run() after the current turn, with `exit_code`. Workers
 * that are left see their primary leave and finish on their own. */
MUSTER_PUBLIC void muster_cluster_stop(struct muster_cluster *cluster,
				       int exit_code);

/*
 * For a program with a loop of its own, in place of muster_cluster_run(): wait
 * until the descriptor is readable, for timeout_ms at most (-1: for ever),
 * then dispatch, which never blocks. Dispatch answers 1 while there is more to
 * come and 0 when muster_cluster_run() would have returned. Close frees
 * everything at once; muster_cluster_run() does that by itself.
 */
MUSTER_PUBLIC int muster_cluster_descriptor(struct muster_cluster *cluster);
MUSTER_PUBLIC int muster_cluster_timeout_ms(struct muster_cluster *cluster);
MUSTER_PUBLIC int muster_cluster_dispatch(struct muster_cluster *cluster);
MUSTER_PUBLIC int muster_cluster_close(struct muster_cluster *cluster);

MUSTER_PUBLIC bool muster_is_primary(const struct muster_cluster *cluster);
MUSTER_PUBLIC bool muster_is_worker(const struct muster_cluster *cluster);

/* In a worker: itself. In a primary: NULL. */
MUSTER_PUBLIC struct muster_worker *muster_self(struct muster_cluster *cluster);

/* The last failure, as one sentence with the way out, and as a stable word
 * (LISTEN_IN_USE); "" where there was none. Good until the next call that
 * fails. */
MUSTER_PUBLIC const char *
muster_problem_text(const struct muster_cluster *cluster);
MUSTER_PUBLIC const char *
muster_problem_name(const struct muster_cluster *cluster);

/* The cores this process may use: affinity and cgroup quota, at least 1. */
MUSTER_PUBLIC int muster_available_cores(void);

/* "code 1", "signal SIGKILL". Good until this thread's next call. */
MUSTER_PUBLIC const char *muster_exit_text(int code, int signal);

/* ---- The primary's workers ------------------------------------------- */

/*
 * Changes how later workers are started; on_setup follows on the next turn.
 * -EPERM in a worker, -EINVAL for what cannot work (a stdio table without
 * exactly one channel, or with more than 64 entries).
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_setup_primary(struct muster_cluster *cluster,
		     const struct muster_settings *settings);

/* What is in force; empty (zeroed) until the first setup or fork. The pointers
 * in it are good until the next setup. */
MUSTER_PUBLIC const struct muster_settings *
muster_settings(const struct muster_cluster *cluster);

/*
 * Starts a worker in the lowest free slot. `env`: NULL, or a NULL-ended list
 * of "K=V" for this worker alone. `worker`, where not NULL, gets it; it is
 * good until its on_exit callbacks have returned.
 *
 * -EPERM in a worker; -ENOENT, -EACCES: the program cannot be started;
 * -EAGAIN: the system or the table of 1,024 workers is full.
 */
MUSTER_PUBLIC int muster_fork(struct muster_cluster *cluster,
			      const char *const *env,
			      struct muster_worker **worker);

/* Keeps the pool at `count` from now on; MUSTER_PER_CORE is understood. What
 * is too many is drained, the highest slot first. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_scale(struct muster_cluster *cluster,
						int count);

/*
 * Replaces every worker by a new one, a few at a time: the new one is ready
 * before the old one is told to go. `on_done` gets 0, or a negative code when
 * a new one did not get ready (-ETIMEDOUT, -ECHILD) or the cluster stopped
 * (-ECANCELED): the old ones that were left are kept. The reason is in
 * muster_problem_text(). -EBUSY: a reload is running. -EPERM in a worker.
 */
typedef void (*muster_reloaded_fn)(struct muster_cluster *cluster, int code,
				   void *arg);
MUSTER_PUBLIC MUSTER_MUST_READ int muster_reload(struct muster_cluster *cluster,
						 muster_reloaded_fn on_done,
						 void *arg);

/* Disconnects every worker and closes every listener; `on_done` (may be NULL)
 * is called once, never from within this call. The pool is not refilled. */
typedef void (*muster_done_fn)(struct muster_cluster *cluster, void *arg);
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_disconnect(struct muster_cluster *cluster, muster_done_fn on_done,
		  void *arg);

/* By slot; NULL where nobody holds it. Whoever was told to go has given its
 * slot up. While a reload replaces a worker, its slot is held by the old one
 * until the new one is ready. */
MUSTER_PUBLIC struct muster_worker *
muster_worker_find(struct muster_cluster *cluster, int id);
/* Walks the workers by slot: NULL starts and ends it. A worker must not be
 * forked or freed between two steps. */
MUSTER_PUBLIC struct muster_worker *
muster_worker_next(struct muster_cluster *cluster,
		   struct muster_worker *previous);
MUSTER_PUBLIC size_t muster_worker_count(struct muster_cluster *cluster);

/* ---- One worker ------------------------------------------------------- */

MUSTER_PUBLIC int muster_worker_id(const struct muster_worker *worker);
MUSTER_PUBLIC const char *
muster_worker_name(const struct muster_worker *worker);
MUSTER_PUBLIC pid_t muster_worker_pid(const struct muster_worker *worker);
/* "starting", "online", "ready", "draining", "gone" */
MUSTER_PUBLIC const char *
muster_worker_state(const struct muster_worker *worker);
/* From the fork until the channel closes. */
MUSTER_PUBLIC bool
muster_worker_is_connected(const struct muster_worker *worker);
/* From the exit on. */
MUSTER_PUBLIC bool muster_worker_is_dead(const struct muster_worker *worker);
/* Did it leave because it was asked to, or asked to itself? Decides whether
 * the application forks again. */
MUSTER_PUBLIC bool
muster_worker_exited_after_disconnect(const struct muster_worker *worker);
/* Open connections that the primary handed to it or that it accepted. */
MUSTER_PUBLIC uint32_t
muster_worker_connections(const struct muster_worker *worker);

/* A pointer of the application's own. */
MUSTER_PUBLIC void muster_worker_set_data(struct muster_worker *worker,
					  void *data);
MUSTER_PUBLIC void *muster_worker_data(const struct muster_worker *worker);

/*
 * Asks a worker to go: it gets no new connections, closes its listeners,
 * finishes what it serves, closes the channel and ends. After drain_ms it is
 * sent TERM, after kill_ms more KILL. In a worker, for itself, the same. Asking
 * twice changes nothing.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_worker_disconnect(struct muster_worker *worker);

/* In the primary: sends the signal (0: SIGTERM) at once. In a worker, for
 * itself: leaves as if asked to, finishes nothing, exits with 0. -ESRCH: it is
 * dead. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_worker_kill(struct muster_worker *worker, int signal);

/* Writes to a MUSTER_STDIO_PIPE of the worker's; the bytes are copied. -EBADF:
 * that descriptor is no pipe. MUSTER_BUSY: more than 128 KiB wait. */
MUSTER_PUBLIC int muster_worker_write(struct muster_worker *worker,
				      int descriptor, const void *bytes,
				      size_t length);
/* Closes our side of it, which the worker reads as the end. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_worker_close_pipe(struct muster_worker *worker, int descriptor);

/* ---- Messages ---------------------------------------------------------- */

/*
 * Sends to the worker; in a worker, muster_self() stands for the primary.
 * Messages arrive in the order they were sent. The content is copied. Under
 * MUSTER_JSON it must be one JSON value in UTF-8.
 *
 * MUSTER_BUSY: on its way, but more than 128 KiB wait; on_drain tells when
 * they have gone. -EPIPE: the other side is gone, or the channel is closing.
 * -EMSGSIZE: over MUSTER_MESSAGE_MAX. -EINVAL: not JSON. -ENOBUFS: 64 MiB
 * wait already, nothing was sent.
 */
MUSTER_PUBLIC int muster_send(struct muster_worker *worker, const void *content,
			      size_t length);
/* The same for JSON in printf form; %s is not quoted for you. */
MUSTER_PUBLIC __attribute__((format(printf, 2, 3))) int
muster_send_format(struct muster_worker *worker, const char *format, ...);

/*
 * The same with 1 to MUSTER_DESCRIPTORS_MAX descriptors of any kind (sockets,
 * listeners, UDP, files). The receiver gets copies that belong to it; the
 * sender's stay its own and may be closed at once. -EINVAL, -EBADF, -EMFILE.
 */
MUSTER_PUBLIC int muster_send_descriptors(struct muster_worker *worker,
					  const void *content, size_t length,
					  const int *descriptors,
					  size_t descriptor_count);

/* In the callback only. The content is followed by a NUL that does not count.
 */
MUSTER_PUBLIC const void *
muster_message_content(const struct muster_message *message);
MUSTER_PUBLIC size_t
muster_message_length(const struct muster_message *message);
MUSTER_PUBLIC size_t
muster_message_descriptor_count(const struct muster_message *message);
/* Takes the index-th descriptor over; -1 where there is none or it was taken.
 * What is not taken is closed when the callback returns. */
MUSTER_PUBLIC int muster_message_take_descriptor(struct muster_message *message,
						 size_t index);

/* Members of a message that is a JSON object; NULL or `otherwise` where there
 * is no such member or it is of another type. */
MUSTER_PUBLIC const char *muster_message_text(struct muster_message *message,
					      const char *member);
MUSTER_PUBLIC int64_t muster_message_int(struct muster_message *message,
					 const char *member, int64_t otherwise);

/* ---- Events -------------------------------------------------------------
 *
 * Callbacks are called in the order they were registered, on the cluster's
 * first, then on the worker's. For each worker: fork, online, listening (once
 * a listener), then messages in order; disconnect, then exit, which is the
 * last. In a worker only message, disconnect and drain occur.
 */

struct muster_address {
	const char *url;  /* "tcp://127.0.0.1:8000", the real port */
	const char *host; /* numeric; the path of a unix socket */
	int port;         /* the real one; 0 for a unix socket */
	int type;         /* 4, 6; -1: unix; 14, 16: UDP over IPv4, IPv6 */
	int descriptor;   /* the primary's own, to look at; -1 */
};

typedef void (*muster_setup_fn)(struct muster_cluster *cluster,
				const struct muster_settings *settings,
				void *arg);
typedef void (*muster_worker_fn)(struct muster_worker *worker, void *arg);
typedef void (*muster_listening_fn)(struct muster_worker *worker,
				    const struct muster_address *address,
				    void *arg);
typedef void (*muster_message_fn)(struct muster_worker *worker,
				  struct muster_message *message, void *arg);
typedef void (*muster_exit_fn)(struct muster_worker *worker, int code,
			       int signal, void *arg);
typedef void (*muster_error_fn)(struct muster_worker *worker, int code,
				const char *text, void *arg);
typedef void (*muster_output_fn)(struct muster_worker *worker, int descriptor,
				 const char *bytes, size_t length, void *arg);

MUSTER_PUBLIC void muster_on_setup(struct muster_cluster *cluster,
				   muster_setup_fn fn, void *arg);
MUSTER_PUBLIC void muster_on_fork(struct muster_cluster *cluster,
				  muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_on_online(struct muster_cluster *cluster,
				    muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_on_listening(struct muster_cluster *cluster,
				       muster_listening_fn fn, void *arg);
MUSTER_PUBLIC void muster_on_ready(struct muster_cluster *cluster,
				   muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_on_message(struct muster_cluster *cluster,
				     muster_message_fn fn, void *arg);
MUSTER_PUBLIC void muster_on_drain(struct muster_cluster *cluster,
				   muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_on_disconnect(struct muster_cluster *cluster,
					muster_worker_fn fn, void *arg);
/* Exactly one of code and signal is set: signal is 0 after a normal exit, code
 * is -1 after a signal. */
MUSTER_PUBLIC void muster_on_exit(struct muster_cluster *cluster,
				  muster_exit_fn fn, void *arg);
/* A worker that broke the protocol of the channel or hangs, or one that the
 * pool could not start (then `worker` is NULL, and only callbacks of the
 * cluster are told); with no callback it is logged. */
MUSTER_PUBLIC void muster_on_error(struct muster_cluster *cluster,
				   muster_error_fn fn, void *arg);
/* Output of a `silent` worker or of a pipe; length 0 is the end. With no
 * callback it is read and dropped. */
MUSTER_PUBLIC void muster_on_output(struct muster_cluster *cluster,
				    muster_output_fn fn, void *arg);
/* The pool gave up: in one slot failures_max workers died young within the
 * window, or one exited with 78 (EX_CONFIG: it cannot work as it is set up)
 * before it was ready. With no callback the cluster disconnects and run
 * returns 1. */
MUSTER_PUBLIC void muster_on_failure(struct muster_cluster *cluster,
				     muster_done_fn fn, void *arg);

/* The same for one worker. */
MUSTER_PUBLIC void muster_worker_on_online(struct muster_worker *worker,
					   muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_worker_on_listening(struct muster_worker *worker,
					      muster_listening_fn fn,
					      void *arg);
MUSTER_PUBLIC void muster_worker_on_ready(struct muster_worker *worker,
					  muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_worker_on_message(struct muster_worker *worker,
					    muster_message_fn fn, void *arg);
MUSTER_PUBLIC void muster_worker_on_drain(struct muster_worker *worker,
					  muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_worker_on_disconnect(struct muster_worker *worker,
					       muster_worker_fn fn, void *arg);
MUSTER_PUBLIC void muster_worker_on_exit(struct muster_worker *worker,
					 muster_exit_fn fn, void *arg);
MUSTER_PUBLIC void muster_worker_on_error(struct muster_worker *worker,
					  muster_error_fn fn, void *arg);
MUSTER_PUBLIC void muster_worker_on_output(struct muster_worker *worker,
					   muster_output_fn fn, void *arg);

/* ---- Listening ---------------------------------------------------------- */

typedef void (*muster_connection_fn)(struct muster_connection *connection,
				     void *arg);
typedef void (*muster_datagram_fn)(struct muster_datagram *datagram, void *arg);

struct muster_listen_options {
	muster_connection_fn on_connection; /* streams */
	muster_datagram_fn on_datagram;     /* udp:// */
	void *arg;
	int backlog; /* the largest that a worker asks for counts; 4,096 */
	enum muster_schedule schedule; /* default: the cluster's */
	uint32_t max_connections;      /* of this worker here; 0: no limit */
	bool exclusive; /* not shared: this worker binds for itself */
	bool ipv6_only;
	bool reuse_address; /* UDP: others may bind the same address */
	bool readable_all;  /* unix: mode bits for everyone */
	bool writable_all;
};

/*
 * Listens at an address, which the workers share: the first to ask makes the
 * primary bind it, the others join. Returns when the primary has answered.
 *
 *     tcp://HOST:PORT  HOST:PORT  :PORT  PORT   names are looked up here
 *     tcp://[::]:PORT
 *     udp://HOST:PORT
 *     unix:PATH  unix:@NAME                     @: the abstract name space
 *     fd://N                                    the primary's descriptor N
 *     systemd://N  systemd://NAME               LISTEN_FDS, by order or name
 *
 * Port 0 is one free port for all workers (a worker's second one is another).
 * A worker that listens twice at one address has two listeners, so the second
 * fails with -EADDRINUSE. In a primary this is an ordinary listener of its own.
 *
 * -EADDRINUSE, -EACCES, -EADDRNOTAVAIL...: from the primary's bind, which
 * keeps nothing of it: a later try may succeed. -EINVAL: the address, or
 * options that conflict with those of the workers that listen already.
 * -ETIMEDOUT: the primary did not answer within 10 s. -EPIPE: it is gone.
 * -ENOSPC: more than 32 listeners of this worker.
 */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_listen(struct muster_cluster *cluster, const char *url,
	      muster_connection_fn on_connection, void *arg);
/* `listener`, where not NULL, gets it; it is good until it is closed. */
MUSTER_PUBLIC MUSTER_MUST_READ int
muster_listen_with(struct muster_cluster *cluster, const char *url,
		   const struct muster_listen_options *options,
		   struct muster_listener **listener);

/* The real address. Good as long as the listener. */
MUSTER_PUBLIC const struct muster_address *
muster_listener_address(const struct muster_listener *listener);
/* Takes no more connections; those that are open go on. When the last worker
 * has closed it, so does the primary. */
MUSTER_PUBLIC void muster_listener_close(struct muster_listener *listener);
/* An unreferenced listener does not keep muster_cluster_run() going. */
MUSTER_PUBLIC void muster_listener_unref(struct muster_listener *listener);

/*
 * A connection: a non-blocking, close-on-exec socket that is the worker's
 * until it closes the connection, which also closes the socket and makes room
 * for another one. Refuse, in place of anything else and only within the
 * callback, hands it back for another worker; where the worker accepted it by
 * itself (shared, reuseport, exclusive) there is none, and it is closed.
 */
MUSTER_PUBLIC int
muster_connection_descriptor(const struct muster_connection *connection);
MUSTER_PUBLIC struct muster_listener *
muster_connection_listener(const struct muster_connection *connection);
MUSTER_PUBLIC void
muster_connection_close(struct muster_connection *connection);
MUSTER_PUBLIC void
muster_connection_refuse(struct muster_connection *connection);

/* A datagram; good until the callback returns. Reply: -errno of sendto(2). */
MUSTER_PUBLIC const void *
muster_datagram_content(const struct muster_datagram *datagram);
MUSTER_PUBLIC size_t
muster_datagram_length(const struct muster_datagram *datagram);
MUSTER_PUBLIC int muster_datagram_reply(struct muster_datagram *datagram,
					const void *content, size_t length);

/* ---- A worker's own life ------------------------------------------------ */

/* Says that this worker is ready to serve; needed where options.wait_ready is
 * set, harmless elsewhere. -EPERM in a primary. */
MUSTER_PUBLIC MUSTER_MUST_READ int muster_ready(struct muster_cluster *cluster);

/* Has this process been told to go? */
MUSTER_PUBLIC bool muster_is_draining(const struct muster_cluster *cluster);

/* ---- Timers -------------------------------------------------------------- */

typedef void (*muster_timer_fn)(struct muster_timer *timer, void *arg);

/* Calls after delay_ms, then, where repeat_ms is not 0, every repeat_ms until
 * it is stopped. A timer that does not repeat is gone when its callback has
 * returned. Stopping one within its own callback is fine. */
MUSTER_PUBLIC struct muster_timer *
muster_timer_start(struct muster_cluster *cluster, uint64_t delay_ms,
		   uint64_t repeat_ms, muster_timer_fn fn, void *arg);
MUSTER_PUBLIC void muster_timer_stop(struct muster_timer *timer);
/* An unreferenced timer does not keep muster_cluster_run() going, nor a worker
 * that was told to go. */
MUSTER_PUBLIC void muster_timer_unref(struct muster_timer *timer);

/* "0.1.0" */
MUSTER_PUBLIC const char *muster_version(void);

#ifdef __cplusplus
}
#endif

#include <muster/http.h>

#endif
