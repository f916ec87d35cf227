#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "loop/resolve.h"
#include "loop/stream.h"
#include "loop/timer.h"
#include "loop/tls.h"
#include "store/redis_internal.h"

#define PAUSE_MS      20
#define PAUSE_MAX_MS  2000
#define PARTS_MAX     64
#define GATHERED_MOST 32
#define BYTES_MAX     ((size_t)1 << 20) /* in one system call */
#define GREET_MS      5000
#define GREET_TLS_MS  3000 /* a server without TLS says nothing, for ever */
#define HANG_UPS      6    /* before it is taken for a habit */
#define OLDEST_MAJOR  6
#define OLDEST_MINOR  2

#define TLS_ALERT 0x15 /* how a server that wants TLS begins */

static void try_now(struct redis_connection *connection);

static void close_stream(struct redis_connection *connection)
{
	if (connection->stream != NULL)
		stream_close(connection->stream);
	connection->stream = NULL;
}

/* ---- losing it ---- */

static void drop(struct redis_connection *connection)
{
	close_stream(connection);
	if (connection->reader != NULL)
		redisReaderFree(connection->reader);
	resolve_close(connection->resolve);
	connection->reader = NULL;
	connection->resolve = NULL;
	connection->is_full = false;
	connection->has_heard = false;
	connection->greetings = 0;
	loop_undefer(&connection->flush);
}

/* What was sent may have happened. What may be repeated goes first in line. */
static void take_back_sent(struct redis_connection *connection)
{
	struct list again;
	struct list *link;

	list_init(&again);
	redis_replicas_lost(connection, &again);
	while ((link = list_first(&connection->sent)) != NULL) {
		struct redis_command *command =
			LIST_ENTRY(link, struct redis_command, link);

		list_remove(link);
		command->is_sent = false;
		if (command->on_reply == NULL && command->call == NULL)
			redis_command_free(command); /* a greeting */
		else if (command->is_repeatable)
			list_add_last(&again, link);
		else
			redis_command_lost(command);
	}
	while ((link = list_first(&connection->waiting)) != NULL) {
		list_remove(link);
		list_add_last(&again, link);
	}
	while ((link = list_first(&again)) != NULL) {
		list_remove(link);
		list_add_last(&connection->waiting, link);
	}
}

/* Longer each time, and not at the same moment as everybody else. */
static void pause_a_while(struct redis_connection *connection)
{
	unsigned doublings =
		connection->failures < 7 ? connection->failures : 7;
	uint64_t pause_ms = (uint64_t)PAUSE_MS << doublings;

	if (pause_ms > PAUSE_MAX_MS)
		pause_ms = PAUSE_MAX_MS;
	connection->failures++;
	connection->state = REDIS_PAUSING;
	timer_start(connection->timer,
		    pause_ms / 2 + redis_random(connection->redis) %
					   (pause_ms / 2 + 1),
		    0);
}

void redis_connection_lose(struct redis_connection *connection)
{
	if (connection->state == REDIS_PAUSING)
		return;
	drop(connection);
	pause_a_while(connection);
	take_back_sent(connection);
	if (connection->purpose == REDIS_SENTINEL)
		redis_sentinel_lost(connection->redis, connection);
	else if (connection->purpose == REDIS_BUS)
		redis_bus_link_lost(connection->redis, connection);
	else if (connection->redis->is_cluster &&
		 connection->purpose == REDIS_MAIN)
		redis_cluster_lost(connection->redis, connection);
}

void redis_connection_suspect(struct redis_connection *connection)
{
	const struct store *store = connection->redis->store;

	if (connection->state == REDIS_READY &&
	    loop_now_ms(store->loop) >=
		    connection->heard_ms + store->options.timeout_ms)
		redis_connection_lose(connection);
}

static void refuse(struct redis_connection *connection, int code,
		   const char *name, const char *text)
{
	problem_set(&connection->problem, code, name, "%s", text);
	redis_connection_lose(connection);
	redis_is_refused(connection->redis, connection);
}

/* ---- sending ---- */

static bool has_waiting(struct redis_connection *connection)
{
	if (list_is_empty(&connection->waiting))
		redis_replicas_ask(connection);
	return !list_is_empty(&connection->waiting);
}

static void run_flush(struct loop_task *task)
{
	struct redis_connection *connection =
		LIST_ENTRY(task, struct redis_connection, flush);

	connection->gathered = 0;
	while (connection->state == REDIS_READY && !connection->is_full &&
	       has_waiting(connection)) {
		struct iovec parts[PARTS_MAX];
		size_t count = 0;
		size_t bytes = 0;

		while (count < PARTS_MAX && bytes < BYTES_MAX &&
		       has_waiting(connection)) {
			struct list *link = connection->waiting.next;
			struct redis_command *command =
				LIST_ENTRY(link, struct redis_command, link);
			struct store_bytes some = redis_command_bytes(command);

			command->is_sent = true;
			connection->replicas.is_owed |= command->must_replicate;
			parts[count++] =
				(struct iovec){ (void *)(uintptr_t)some.data,
						some.length };
			bytes += some.length;
			list_remove(link);
			list_add_last(&connection->sent, link);
		}
		connection->is_full =
			!stream_write(connection->stream, parts, count);
	}
}

void redis_connection_send(struct redis_connection *connection,
			   struct redis_command *command)
{
	command->connection = connection;
	command->is_sent = false;
	list_add_last(&connection->waiting, &command->link);
	if (connection->state == REDIS_IDLE)
		try_now(connection);
	else if (connection->state == REDIS_READY)
		loop_defer(connection->redis->store->loop, &connection->flush);
	/* A server that has work begins while we make more. */
	if (++connection->gathered >= GATHERED_MOST)
		run_flush(&connection->flush);
}

/* ---- the first questions ---- */

static void is_greeted(struct redis_connection *connection)
{
	if (--connection->greetings > 0)
		return;
	connection->state = REDIS_READY;
	connection->was_ready = true;
	connection->failures = 0;
	connection->problem = (struct problem){ 0 };
	timer_stop(connection->timer);
	loop_defer(connection->redis->store->loop, &connection->flush);
	redis_is_ready(connection->redis, connection);
}

static const char *find_field(const char *info, const char *name)
{
	const char *at = strstr(info, name);

	return at == NULL ? NULL : at + strlen(name);
}

static unsigned long major_of(const char *info)
{
	const char *version = find_field(info, "redis_version:");

	return version == NULL ? 0 : strtoul(version, NULL, 10);
}

static bool is_too_old(const char *info)
{
	/* Valkey, too, says which Redis it is as good as. */
	const char *version = find_field(info, "redis_version:");
	char *end;

	if (version == NULL)
		return true;
	unsigned long major = strtoul(version, &end, 10);
	unsigned long minor = *end == '.' ? strtoul(end + 1, NULL, 10) : 0;

	return major < OLDEST_MAJOR ||
	       (major == OLDEST_MAJOR && minor < OLDEST_MINOR);
}

/* False: it was refused, or is not ready yet. */
static bool check_info(struct redis_connection *connection, const char *info)
{
	const char *policy = find_field(info, "maxmemory_policy:");
	const char *loading = find_field(info, "\nloading:");
	const char *role = find_field(info, "\nrole:");
	bool is_cluster = connection->redis->is_cluster;
	const char *enabled = find_field(info, "cluster_enabled:");

	if (is_too_old(info)) {
		refuse(connection, -EPROTONOSUPPORT, "STORE_TOO_OLD",
		       "the Redis server is older than 6.2 (upgrade it, or use "
		       "Valkey)");
		return false;
	}
	if (policy != NULL && strncmp(policy, "allkeys", 7) == 0) {
		refuse(connection, -EPERM, "STORE_EVICTS",
		       "the Redis server's maxmemory-policy may drop tasks "
		       "(set "
		       "it to noeviction or volatile-lru)");
		return false;
	}
	if (enabled != NULL && (*enabled == '1') != is_cluster) {
		refuse(connection, -EPERM, "STORE_MODE",
		       is_cluster ? "the Redis server is no cluster (use "
				    "redis://)"
				  : "the Redis server is part of a cluster "
				    "(use redis+cluster://)");
		return false;
	}
	bool is_replica = role != NULL && strncmp(role, "master", 6) != 0;

	/* Sentinel may not know yet, and a primary that was one before may
	 * become one again; a cluster's replica says where its slots are. */
	if (is_replica && connection->redis->sentinels == NULL && !is_cluster &&
	    connection->purpose == REDIS_MAIN && !connection->was_ready) {
		refuse(connection, -EROFS, "STORE_REPLICA",
		       "the Redis server is a replica, which takes no writes "
		       "(give the URL of its primary, or use "
		       "redis+sentinel://)");
		return false;
	}
	if ((loading != NULL && *loading == '1') ||
	    (is_replica && !is_cluster)) {
		redis_connection_lose(connection);
		return false;
	}
	connection->redis->has_no_shards = major_of(info) < 7;
	return true;
}

static void on_greeting(struct redis_connection *connection,
			const struct redis_command *command,
			const redisReply *reply)
{
	bool is_error = reply->type == REDIS_REPLY_ERROR;

	if (is_error && strncmp(reply->str, "LOADING", 7) == 0) {
		redis_connection_lose(connection);
		return;
	}
	if (is_error &&
	    (strstr(reply->str, "AUTH") != NULL ||
	     strstr(reply->str, "WRONGPASS") != NULL ||
	     strstr(reply->str, "invalid password") != NULL ||
	     strstr(reply->str, "invalid username-password") != NULL)) {
		refuse(connection, -EACCES, "STORE_PASSWORD",
		       connection->redis->url.password == NULL
			       ? "the Redis server wants a password (put it "
				 "into the URL: redis://:PASSWORD@HOST)"
			       : "the Redis server refuses the user or the "
				 "password (correct them in the URL)");
		return;
	}
	if (is_error) {
		char text[200];

		snprintf(text, sizeof(text),
			 "the Redis server refuses us: %.120s (check its "
			 "settings and the URL)",
			 reply->str);
		refuse(connection, -EACCES, "STORE_REFUSED", text);
		return;
	}
	if (command->detail == 'i' && reply->type != REDIS_REPLY_STRING) {
		refuse(connection, -EPROTO, "STORE_REFUSED",
		       "what answers is no Redis server (check the URL)");
		return;
	}
	if (command->detail == 'i' && !check_info(connection, reply->str))
		return;
	if (command->detail == 'i' && !connection->redis->is_cluster)
		redis_memory_read(connection->redis, reply->str);
	if (command->detail == 'c')
		snprintf(connection->client_id, sizeof(connection->client_id),
			 "%lld", (long long)redis_reply_integer(reply));
	is_greeted(connection);
}

/* With its first words: what it asks for is in `detail`. */
static struct redis_command *greeting(struct redis_connection *connection,
				      const char *first, char detail)
{
	struct redis_command *command =
		redis_command_new(connection->redis, NULL, NULL);

	redis_text(command, first);
	command->detail = (uint64_t)(unsigned char)detail;
	connection->greetings++;
	return command;
}

static void say(struct redis_connection *connection,
		struct redis_command *command)
{
	struct store_bytes bytes = redis_command_bytes(command);
	struct iovec part = { (void *)(uintptr_t)bytes.data, bytes.length };

	list_add_last(&connection->sent, &command->link);
	if (!stream_write(connection->stream, &part, 1))
		connection->is_full = true;
}

void redis_connection_say(struct redis_connection *connection,
			  struct redis_command *command)
{
	struct store_bytes bytes = redis_command_bytes(command);
	struct iovec part = { (void *)(uintptr_t)bytes.data, bytes.length };

	/* An error comes as the connection's end. */
	DISCARD(stream_write(connection->stream, &part, 1));
	redis_command_free(command);
}

static void greet(struct redis_connection *connection)
{
	const struct store_url *url = &connection->redis->url;
	struct redis_command *command;

	if (url->password != NULL && connection->purpose != REDIS_SENTINEL) {
		command = greeting(connection, "AUTH", 'a');
		if (url->user != NULL)
			redis_text(command, url->user);
		redis_text(command, url->password);
		say(connection, command);
	}
	if (connection->purpose == REDIS_SENTINEL) {
		say(connection, greeting(connection, "PING", 'p'));
		return;
	}
	if (url->database != 0) {
		command = greeting(connection, "SELECT", 's');
		redis_number(command, url->database);
		say(connection, command);
	}
	say(connection, greeting(connection, "INFO", 'i'));
	command = greeting(connection, "CLIENT", 'c');
	redis_text(command, "ID");
	say(connection, command);
	if (connection->purpose != REDIS_MAIN)
		return;
	for (size_t i = 0; i < SCRIPTS; i++) {
		command = greeting(connection, "SCRIPT", 'l');
		redis_text(command, "LOAD");
		redis_text(command, redis_script_text((enum redis_script)i));
		say(connection, command);
	}
}

/* ---- what comes ---- */

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* The script first, then the command again. */
static void send_with_script(struct redis_connection *connection,
			     struct redis_command *command)
{
	struct redis_command *load =
		redis_command_new(connection->redis, NULL, NULL);

	redis_text(load, "SCRIPT");
	redis_text(load, "LOAD");
	redis_text(load, redis_script_text((enum redis_script)command->script));
	load->takes_errors = true;
	redis_connection_send(connection, load);
	redis_connection_send(connection, command);
}

/* What another try, here or elsewhere, can cure. */
static bool is_cured(struct redis_connection *connection,
		     struct redis_command *command, const char *text)
{
	if (starts(text, "NOSCRIPT") && command->script >= 0) {
		if (++command->tries % 5 == 0)
			redis_command_later(command);
		else
			send_with_script(connection, command);
		return true;
	}
	if (connection->redis->is_cluster &&
	    (starts(text, "MOVED ") || starts(text, "ASK "))) {
		redis_cluster_redirect(connection->redis, command, text);
		return true;
	}
	if (starts(text, "LOADING") || starts(text, "TRYAGAIN") ||
	    starts(text, "CLUSTERDOWN") || starts(text, "MASTERDOWN") ||
	    starts(text, "BUSY ")) {
		redis_command_later(command);
		return true;
	}
	/* Raised within a script, a 6.2 wraps it. */
	if (starts(text, "READONLY") || strstr(text, " -READONLY ") != NULL ||
	    starts(text, "UNBLOCKED")) {
		/* It was the primary once: whoever it is now is elsewhere. */
		redis_command_later(command);
		redis_connection_lose(connection);
		return true;
	}
	return false;
}

/* Takes the reply. */
static void on_reply(struct redis_connection *connection, redisReply *reply)
{
	struct list *link = list_first(&connection->sent);

	if (link == NULL && connection->purpose == REDIS_BUS) {
		redis_bus_reply(connection->redis, connection, reply);
		freeReplyObject(reply);
		return;
	}
	if (link == NULL) {
		redis_connection_lose(connection); /* nobody asked */
		freeReplyObject(reply);
		return;
	}
	struct redis_command *command =
		LIST_ENTRY(link, struct redis_command, link);

	if (command->more_replies > 0) {
		command->more_replies--;
		command->on_reply(connection->redis, command, reply);
		freeReplyObject(reply);
		return;
	}
	list_remove(link);
	command->is_sent = false;
	if (connection->state == REDIS_GREETING) {
		on_greeting(connection, command, reply);
		redis_command_free(command);
	} else if (reply->type == REDIS_REPLY_ERROR && !command->takes_errors) {
		if (!is_cured(connection, command, reply->str))
			redis_command_failed(command, reply->str);
	} else if (command->must_replicate) {
		redis_replicas_hold(connection, command, reply);
		return;
	} else if (command->on_reply != NULL) {
		command->on_reply(connection->redis, command, reply);
	} else {
		redis_finish(command);
	}
	freeReplyObject(reply);
}

static void on_bytes(void *owner, const uint8_t *bytes, size_t length)
{
	struct redis_connection *connection = owner;
	void *reply;

	connection->heard_ms = loop_now_ms(connection->redis->store->loop);
	connection->has_heard = true;
	if (connection->state == REDIS_GREETING &&
	    connection->redis->tls == NULL && bytes[0] == TLS_ALERT) {
		refuse(connection, -EPROTO, "STORE_TLS",
		       "the server speaks TLS alone (use rediss:// instead of "
		       "redis://)");
		return;
	}
	if (redisReaderFeed(connection->reader, (const char *)bytes, length) !=
	    REDIS_OK) {
		redis_connection_lose(connection);
		return;
	}
	while (connection->reader != NULL) {
		if (redisReaderGetReply(connection->reader, &reply) !=
		    REDIS_OK) {
			redis_connection_lose(connection);
			return;
		}
		if (reply == NULL)
			return;
		on_reply(connection, reply);
	}
}

/* What trying again will hardly change. */
static void refuse_tls(struct redis_connection *connection,
		       const struct problem *why)
{
	char text[256];
	bool is_untrusted = strcmp(why->name, "TLS_UNTRUSTED") == 0;

	snprintf(text, sizeof(text), "%.180s (%s)", why->text,
		 is_untrusted ? "give who signed it with ?ca=PATH"
			      : "redis:// where it has no TLS; it may want "
				"?cert= and &key=");
	refuse(connection, why->code, "STORE_TLS", text);
}

/* It took the connection, and nothing was ever heard of it. */
static bool is_unheard(const struct redis_connection *connection)
{
	return connection->state == REDIS_GREETING && !connection->was_ready &&
	       !connection->has_heard;
}

static void on_end(void *owner, int error)
{
	struct redis_connection *connection = owner;
	const struct problem *why = tls_problem(connection->stream);

	if (why != NULL)
		refuse_tls(connection, why);
	else if ((error == 0 || error == -ECONNRESET || error == -EPIPE) &&
		 is_unheard(connection) && connection->failures >= HANG_UPS)
		refuse(connection, -ECONNRESET, "STORE_HANGS_UP",
		       connection->redis->url.is_tls
			       ? "the server hangs up before it says anything "
				 "(if it wants a certificate of ours add "
				 "cert=PATH&key=PATH to the URL)"
			       : "the server hangs up before it says anything "
				 "(if it wants TLS use rediss://, if it is a "
				 "proxy see whether Redis is up behind it)");
	else
		redis_connection_lose(connection);
}

static void on_written(void *owner)
{
	struct redis_connection *connection = owner;

	connection->is_full = false;
	loop_defer(connection->redis->store->loop, &connection->flush);
}

static const struct stream_events events = {
	.on_bytes = on_bytes,
	.on_end = on_end,
	.on_written = on_written,
};

/* ---- connecting ---- */

static void open_stream(struct redis_connection *connection, int descriptor)
{
	struct loop *loop = connection->redis->store->loop;
	struct tls_context *context = connection->redis->tls;

	connection->stream =
		context == NULL
			? stream_open(loop, descriptor, &events, connection)
			: tls_connect(loop, descriptor, context,
				      connection->address.host, &events,
				      connection);
	stream_start_reading(connection->stream);
}

/* While it connects the socket takes nothing, and an error shows when it can
 * be written to: the stream needs to know no more. */
static void connect_to(struct redis_connection *connection,
		       const struct sockaddr *address, socklen_t length)
{
	int one = 1;
	int descriptor = socket(address->sa_family,
				SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (descriptor < 0 || (connect(descriptor, address, length) < 0 &&
			       errno != EINPROGRESS)) {
		if (descriptor >= 0)
			close(descriptor);
		redis_connection_lose(connection);
		return;
	}
	if (address->sa_family != AF_UNIX) {
		/* Small commands are not to wait for one another, and a host
		 * that is gone is to be noticed. */
		DISCARD(setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one,
				   sizeof(one)));
		DISCARD(setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &one,
				   sizeof(one)));
	}
	connection->state = REDIS_GREETING;
	connection->heard_ms = loop_now_ms(connection->redis->store->loop);
	connection->reader = redisReaderCreate();
	open_stream(connection, descriptor);
	timer_start(connection->timer,
		    connection->redis->tls == NULL ? GREET_MS : GREET_TLS_MS,
		    0);
	greet(connection);
}

static void on_found(void *owner, int error, const struct sockaddr *address,
		     socklen_t length)
{
	struct redis_connection *connection = owner;

	connection->resolve = NULL;
	if (error < 0)
		redis_connection_lose(connection);
	else
		connect_to(connection, address, length);
}

static void try_now(struct redis_connection *connection)
{
	const struct redis_address *at = &connection->address;
	char port[8];

	if (at->path != NULL) {
		struct sockaddr_un address = { .sun_family = AF_UNIX };

		if (strlen(at->path) >= sizeof(address.sun_path)) {
			connection->state = REDIS_RESOLVING;
			refuse(connection, -ENAMETOOLONG, "STORE_REFUSED",
			       "the socket's path is too long (shorten it)");
			return;
		}
		snprintf(address.sun_path, sizeof(address.sun_path), "%s",
			 at->path);
		connection->state = REDIS_RESOLVING;
		connect_to(connection, (const struct sockaddr *)&address,
			   sizeof(address));
		return;
	}
	connection->state = REDIS_RESOLVING;
	if (at->host == NULL) {
		redis_sentinel_ask(connection->redis);
		return;
	}
	snprintf(port, sizeof(port), "%u", at->port);
	connection->resolve =
		resolve_open(connection->redis->store->loop, at->host, port,
			     on_found, connection);
}

static void on_time(void *owner)
{
	struct redis_connection *connection = owner;

	if (connection->redis->tls != NULL && is_unheard(connection)) {
		refuse(connection, -ETIMEDOUT, "STORE_TLS",
		       "the server has not answered to TLS in time (use "
		       "redis:// where it has none)");
		return;
	}
	if (connection->state != REDIS_PAUSING) {
		redis_connection_lose(connection); /* greeted for too long */
		return;
	}
	/* Where Sentinel knows better it is asked anew each time. */
	if (connection->redis->sentinels != NULL &&
	    connection->purpose != REDIS_SENTINEL) {
		free(connection->address.host);
		connection->address.host = NULL;
	}
	try_now(connection);
}

void redis_connection_go(struct redis_connection *connection, const char *host,
			 uint16_t port)
{
	if (connection->state != REDIS_RESOLVING ||
	    connection->address.host != NULL)
		return;
	connection->address.host = mem_text(host);
	connection->address.port = port;
	try_now(connection);
}

void redis_connection_start(struct redis_connection *connection)
{
	if (connection->state == REDIS_IDLE)
		try_now(connection);
}

void redis_connection_hurry(struct redis_connection *connection)
{
	if (connection->state == REDIS_PAUSING)
		timer_start(connection->timer, 0, 0);
}

void redis_connection_turn(struct redis_connection *connection,
			   const struct redis_address *at)
{
	free(connection->address.host);
	connection->address.host = mem_text(at->host);
	connection->address.port = at->port;
	connection->failures = 0;
	redis_connection_lose(connection);
}

struct redis_connection *redis_connection_open(struct redis *redis,
					       enum redis_purpose purpose,
					       const struct redis_address *at)
{
	struct redis_connection *connection = mem_zalloc(sizeof(*connection));

	connection->redis = redis;
	connection->purpose = purpose;
	if (at->path != NULL)
		connection->address.path = mem_text(at->path);
	if (at->host != NULL)
		connection->address.host = mem_text(at->host);
	connection->address.port = at->port;
	connection->flush.run = run_flush;
	list_init(&connection->waiting);
	list_init(&connection->sent);
	list_init(&connection->replicas.held);
	connection->timer =
		timer_open(redis->store->loop, on_time, connection, false);
	return connection;
}

static void fail_all(struct list *commands)
{
	struct list *link;

	while ((link = list_first(commands)) != NULL) {
		list_remove(link);
		redis_finish(LIST_ENTRY(link, struct redis_command, link));
	}
}

void redis_connection_close(struct redis_connection *connection)
{
	if (connection == NULL)
		return;
	drop(connection);
	fail_all(&connection->replicas.held);
	fail_all(&connection->sent);
	fail_all(&connection->waiting);
	timer_close(connection->timer);
	free(connection->address.path);
	free(connection->address.host);
	free(connection);
}
