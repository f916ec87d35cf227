/* rpc_callee - what others ask of this node: its methods, each with so many
 * calls at once and so many that wait. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/json_write.h"
#include "base/mem.h"
#include "base/must.h"
#include "service/node_bus.h"
#include "service/rooms.h"
#include "service/routine.h"
#include "service/rpc_internal.h"

#define CONCURRENCY_DEFAULT 100
#define WAITING_DEFAULT     1000
#define TTL_MAX_MS          (24 * 3600 * 1000)
#define TEXT_BYTES          512
#define SEEN_MAX            4096
#define SPARES_MAX          64

struct method {
	const struct muster_method *given;
	uint32_t running;
	struct list waiting; /* struct muster_request */
	uint32_t waiting_count;
};

struct rpc_callee {
	struct rpc *rpc;
	uint64_t since_ms;
	uint64_t repeated; /* calls that had come before */
	struct method *methods;
	size_t method_count;
	size_t running; /* of all methods, with those that wait */
	bool is_stopped;
	struct fiber_wait idle;
	struct list spares; /* requests to use again */
	uint32_t spare_count;
	uint64_t *seen; /* the hashes of the last ids, each at its place */
};

struct muster_request {
	struct list link; /* while it waits */
	struct rpc_callee *callee;
	struct method *method;
	struct arena arena;
	const char *id;
	const char *from;
	const char *connection;
	const char *args;
	uint64_t ttl_ms;
	uint64_t came_ms;
	bool wants_reply;
	bool has_failed;
	bool is_checked; /* the value is JSON, and not too deep */
	const char *value;
	char text[TEXT_BYTES]; /* of the failure */
};

/* ---- answering ---- */

/* A short answer that always fits. */
static void write_error(struct json_writer *writer, const char *word,
			const char *text)
{
	json_write_name(writer, "ok");
	json_write_boolean(writer, false);
	json_write_name(writer, "error");
	json_write_text(writer, word);
	json_write_name(writer, "text");
	json_write_text(writer, text);
}

struct answer {
	struct envelope_text id;
	struct envelope_text from; /* who asked */
	const char *value;         /* NULL: it has failed */
	bool is_checked;           /* it is JSON, and not too deep */
	const char *word;
	const char *text;
};

static int send_answer(struct muster *muster, const struct answer *answer)
{
	if (muster->bus == NULL)
		return -ENOTCONN;
	struct buffer *room = &muster->rpc->room;
	struct json_writer writer = json_writer(room);

	buffer_truncate(room, 0);
	json_write_object(&writer);
	json_write_name(&writer, "id");
	json_write_string(&writer, answer->id.data, answer->id.length);
	if (answer->value != NULL) {
		json_write_name(&writer, "ok");
		json_write_boolean(&writer, true);
		json_write_name(&writer, "value");
		json_write_raw(&writer, answer->value, strlen(answer->value));
	} else {
		write_error(&writer, answer->word, answer->text);
	}
	json_write_object_end(&writer);
	int error = bus_publish(
		muster->bus,
		&(struct bus_outgoing){
			.type = { "doResponse", strlen("doResponse") },
			.to = answer->from,
			.body = { (const char *)buffer_bytes(room),
				  buffer_length(room) },
			.is_checked = answer->is_checked,
		},
		NULL, NULL);

	buffer_truncate(room, 0);
	buffer_trim(room, RPC_ROOM_BYTES);
	return error;
}

static void refuse(struct muster_request *request, enum rpc_error error,
		   const char *text)
{
	struct muster *muster = request->callee->rpc->muster;

	if (request->wants_reply)
		DISCARD(send_answer(
			muster,
			&(struct answer){ .id = rpc_text_of(request->id),
					  .from = rpc_text_of(request->from),
					  .word = rpc_error_name(error),
					  .text = text })); /* its deadline
							     * tells it */
}

static void answer(struct muster_request *request)
{
	struct answer good = { .id = rpc_text_of(request->id),
			       .from = rpc_text_of(request->from),
			       .value = request->value,
			       .is_checked = request->is_checked };

	if (!request->wants_reply)
		return;
	if (request->has_failed) {
		refuse(request, RPC_CALLEE_ERROR, request->text);
		return;
	}
	int error = send_answer(request->callee->rpc->muster, &good);

	if (error == -EMSGSIZE || error == -ELOOP)
		refuse(request, RPC_CALLEE_ERROR,
		       error == -ELOOP ? "the answer is nested too deep"
				       : "the answer is longer than 1 MiB");
}

/* ---- running ---- */

/* One that is over is used again, with what its arena has. */
static struct muster_request *take(struct rpc_callee *callee)
{
	struct list *link = list_take_first(&callee->spares);

	if (link == NULL)
		return mem_zalloc(sizeof(struct muster_request));
	struct muster_request *request =
		LIST_ENTRY(link, struct muster_request, link);
	struct arena arena = request->arena;

	callee->spare_count--;
	memset(request, 0, offsetof(struct muster_request, text) + 1);
	request->arena = arena;
	return request;
}

static void give_back(struct rpc_callee *callee, struct muster_request *request)
{
	if (callee->spare_count == SPARES_MAX) {
		arena_fini(&request->arena);
		free(request);
		return;
	}
	arena_reset(&request->arena);
	list_add_last(&callee->spares, &request->link);
	callee->spare_count++;
}

static void free_request(struct muster_request *request)
{
	struct rpc_callee *callee = request->callee;

	give_back(callee, request);
	if (--callee->running == 0)
		fiber_wake(callee->idle, 0);
}

static struct muster_request *take_waiting(struct method *method)
{
	struct list *link = list_take_first(&method->waiting);

	if (link == NULL)
		return NULL;
	method->waiting_count--;
	return LIST_ENTRY(link, struct muster_request, link);
}

/* What the time of the caller has left; 0: it has given up. */
static uint64_t left_ms(const struct muster_request *request)
{
	uint64_t spent_ms = loop_now_ms(request->callee->rpc->muster->loop) -
			    request->came_ms;

	return spent_ms < request->ttl_ms ? request->ttl_ms - spent_ms : 0;
}

/* One whose caller has given up by now is not begun. */
static struct muster_request *take_next(struct method *method)
{
	struct muster_request *request;

	while ((request = take_waiting(method)) != NULL &&
	       left_ms(request) == 0)
		free_request(request);
	return request;
}

/* The caller may die meanwhile: what was begun is finished, or ends with the
 * caller's time. */
static void run_one(struct muster *muster, struct muster_request *request)
{
	struct routine *routine = routine_current(muster);

	routine->context = request;
	routine->was_late = false;
	DISCARD(muster_set_deadline(muster, left_ms(request))); /* a fiber */
	request->method->given->run(request);
	if (!routine->was_late) /* else nobody waits for it any more */
		answer(request);
	muster_clear_answers(muster);
	free_request(request);
}

/* Those that wait are next on the same fiber: one within the other they would
 * all be there at once. */
static void run(struct muster *muster, void *arg)
{
	struct muster_request *request = arg;
	struct method *method = request->method;

	for (; request != NULL; request = take_next(method))
		run_one(muster, request);
	method->running--;
}

static void start(struct muster_request *request)
{
	struct method *method = request->method;
	struct muster *muster = request->callee->rpc->muster;

	method->running++;
	if (routine_start(muster, method->given->name, run, request, request) ==
	    0)
		return;
	method->running--;
	refuse(request, RPC_BUSY, "no fiber is left for it");
	free_request(request);
}

static void enter(struct muster_request *request)
{
	struct method *method = request->method;
	uint32_t concurrency = method->given->concurrency > 0
				       ? method->given->concurrency
				       : CONCURRENCY_DEFAULT;
	uint32_t waiting = method->given->waiting > 0 ? method->given->waiting
						      : WAITING_DEFAULT;

	if (method->running < concurrency) {
		start(request);
	} else if (method->waiting_count < waiting) {
		list_add_last(&method->waiting, &request->link);
		method->waiting_count++;
	} else {
		refuse(request, RPC_BUSY, rpc_error_text(RPC_BUSY));
		free_request(request);
	}
}

/* ---- reading ---- */

static const char *read_text(struct muster_request *request,
			     struct json_value value)
{
	size_t length;

	if (!rpc_is(value, JSON_STRING))
		return "";
	char *room = arena_take(&request->arena, value.length);
	const char *text = json_string_of(value, room, &length);

	return arena_text(&request->arena, text, length);
}

/* The caller's time ran on the way, too: while this process stood still, or
 * the store was away. */
static void take_age_off(struct muster_request *request,
			 const struct bus_message *message)
{
	uint64_t now_ms = bus_now_ms(request->callee->rpc->muster->bus);
	uint64_t age_ms = now_ms > message->ts_ms ? now_ms - message->ts_ms : 0;

	request->ttl_ms -= age_ms < request->ttl_ms ? age_ms : request->ttl_ms;
}

static struct muster_request *request_new(struct rpc_callee *callee,
					  const struct bus_message *message,
					  const struct rpc_body *body)
{
	struct muster_request *request = take(callee);
	int64_t ttl_ms = 0;

	request->callee = callee;
	callee->running++;
	request->came_ms = loop_now_ms(callee->rpc->muster->loop);
	request->value = "null";
	request->id = read_text(request, body->id);
	request->connection = read_text(request, body->connection);
	request->from = arena_text(&request->arena, message->from.data,
				   message->from.length);
	request->args = "null";
	if (body->args.text != NULL)
		request->args = arena_text(&request->arena, body->args.text,
					   body->args.length);
	if (rpc_is(body->ttl, JSON_NUMBER))
		DISCARD(json_integer_of(body->ttl, &ttl_ms)); /* stays 0 */
	request->ttl_ms = ttl_ms > 0 && ttl_ms <= TTL_MAX_MS ? (uint64_t)ttl_ms
							     : TTL_MAX_MS;
	if (rpc_is(body->reply, JSON_BOOLEAN))
		request->wants_reply = json_boolean_of(body->reply);
	if (request->wants_reply)
		take_age_off(request, message);
	return request;
}

static struct method *find(struct rpc_callee *callee, const char *name)
{
	for (size_t i = 0; i < callee->method_count; i++)
		if (strcmp(callee->methods[i].given->name, name) == 0)
			return &callee->methods[i];
	return NULL;
}

/* Has this call come before? It may have been sent again. */
static bool is_known(struct rpc_callee *callee, const char *id)
{
	uint64_t hash = 14695981039346656037U; /* FNV-1a */

	for (; *id != '\0'; id++)
		hash = (hash ^ (unsigned char)*id) * 1099511628211U;
	uint64_t *place = &callee->seen[hash % SEEN_MAX];
	bool is_there = *place == hash;

	*place = hash;
	return is_there;
}

void rpc_callee_do(struct rpc_callee *callee, const struct bus_message *message)
{
	struct rpc_body body;

	if (!rpc_read_body(message->body, &body))
		return;
	struct muster_request *request = request_new(callee, message, &body);
	const char *name = read_text(request, body.method);
	bool is_guest = callee->rpc->muster->settings.options.is_guest;

	request->method = find(callee, name);
	if (request->id[0] == '\0')
		;
	else if (is_known(callee, request->id))
		callee->repeated++;
	else if (left_ms(request) == 0)
		; /* its caller has given up */
	else if (is_guest)
		refuse(request, RPC_NO_RESPONDERS, "a tool is no server");
	else if (callee->is_stopped)
		refuse(request, RPC_PEER_DOWN, "the server is ending");
	else if (request->connection[0] != '\0' &&
		 !rpc_holds(callee->rpc, request->connection,
			    strlen(request->connection)))
		refuse(request, RPC_CONNECTION_GONE,
		       rpc_error_text(RPC_CONNECTION_GONE));
	else if (request->method == NULL)
		refuse(request, RPC_NO_SUCH_METHOD,
		       rpc_error_text(RPC_NO_SUCH_METHOD));
	else {
		enter(request);
		return;
	}
	free_request(request);
}

/* ---- those that are there ---- */

static void run_log(struct muster_request *request)
{
	const char *text = muster_request_text(request, "message");

	log_warn(&request->callee->rpc->muster->log,
		 "said by another server from=%s text=\"%.500s\"",
		 request->from, text[0] != '\0' ? text : request->args);
	muster_request_reply(request, "true");
}

static void run_status(struct muster_request *request)
{
	struct muster *muster = request->callee->rpc->muster;
	struct buffer buffer = { 0 };
	struct json_writer writer = json_writer(&buffer);
	char host[256] = "";

	if (gethostname(host, sizeof(host) - 1) < 0)
		host[0] = '\0';
	json_write_object(&writer);
	json_write_name(&writer, "id");
	json_write_text(&writer, muster->id);
	json_write_name(&writer, "application");
	json_write_text(&writer, muster->name);
	json_write_name(&writer, "host");
	json_write_text(&writer, host);
	json_write_name(&writer, "pid");
	json_write_integer(&writer, getpid());
	json_write_name(&writer, "uptimeMs");
	json_write_integer(&writer, (int64_t)(loop_now_ms(muster->loop) -
					      request->callee->since_ms));
	json_write_name(&writer, "state");
	json_write_text(&writer, node_state_name(muster->state));
	json_write_object_end(&writer);
	request->value = arena_text(&request->arena, buffer_bytes(&buffer),
				    buffer_length(&buffer));
	buffer_fini(&buffer);
}

static void run_stop(struct muster_request *request)
{
	muster_request_reply(request, "true");
	node_stop(request->callee->rpc->muster, 0);
}

static const struct {
	unsigned bit;
	struct muster_method method;
} there[] = {
	{ MUSTER_ALLOW_LOG, { .name = "log", .run = run_log } },
	{ MUSTER_ALLOW_STATUS, { .name = "status", .run = run_status } },
	{ MUSTER_ALLOW_STOP, { .name = "stop", .run = run_stop } },
};

/* ---- life ---- */

static void add(struct rpc_callee *callee, const struct muster_method *method)
{
	struct method *slot = &callee->methods[callee->method_count++];

	slot->given = method;
	list_init(&slot->waiting);
}

struct rpc_callee *rpc_callee_new(struct rpc *rpc)
{
	const struct muster_node_options *options =
		&rpc->muster->settings.options;
	struct rpc_callee *callee = mem_zalloc(sizeof(*callee));
	size_t count = 0;

	callee->rpc = rpc;
	list_init(&callee->spares);
	callee->since_ms = loop_now_ms(rpc->muster->loop);
	callee->seen = mem_zalloc(SEEN_MAX * sizeof(*callee->seen));
	while (options->methods != NULL && options->methods[count].name != NULL)
		count++;
	size_t most = count + sizeof(there) / sizeof(there[0]);

	for (size_t i = 0; rooms_methods[i].name != NULL; i++)
		most++;
	callee->methods = mem_zalloc(most * sizeof(*callee->methods));
	/* The application's own come first: it may have a "status". */
	for (size_t i = 0; i < count; i++)
		add(callee, &options->methods[i]);
	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++)
		if ((options->allowed & there[i].bit) != 0)
			add(callee, &there[i].method);
	for (size_t i = 0; rooms_methods[i].name != NULL; i++)
		add(callee, &rooms_methods[i]);
	return callee;
}

uint64_t rpc_callee_repeated(const struct rpc_callee *callee)
{
	return callee->repeated;
}

void rpc_callee_drain(struct rpc_callee *callee)
{
	callee->is_stopped = true;
	while (callee->running > 0) {
		callee->idle = fiber_wait_begin();
		if (routine_park(callee->rpc->muster, callee->idle, 0) < 0)
			return; /* it has taken too long */
	}
}

void rpc_callee_stop(struct rpc_callee *callee)
{
	callee->is_stopped = true;
	for (size_t i = 0; i < callee->method_count; i++) {
		struct muster_request *request;

		while ((request = take_waiting(&callee->methods[i])) != NULL) {
			refuse(request, RPC_PEER_DOWN, "the server is ending");
			free_request(request);
		}
	}
}

void rpc_callee_free(struct rpc_callee *callee)
{
	for (size_t i = 0; i < callee->method_count; i++) {
		struct muster_request *request;

		while ((request = take_waiting(&callee->methods[i])) != NULL)
			free_request(request);
	}
	while (callee->spare_count > 0) {
		struct muster_request *request = take(callee);

		arena_fini(&request->arena);
		free(request);
	}
	free(callee->methods);
	free(callee->seen);
	free(callee);
}

/* ---- what methods see ---- */

struct muster *muster_request_server(const struct muster_request *request)
{
	return request->callee->rpc->muster;
}

void *muster_request_arg(const struct muster_request *request)
{
	return request->method->given->arg;
}

const char *muster_request_from(const struct muster_request *request)
{
	return request->from;
}

const char *muster_request_connection(const struct muster_request *request)
{
	return request->connection;
}

const char *muster_request_args(const struct muster_request *request)
{
	return request->args;
}

static struct json_value args_of(const struct muster_request *request)
{
	return json_value_of(request->args, strlen(request->args));
}

const char *muster_request_text(struct muster_request *request,
				const char *name)
{
	struct json_value args = args_of(request);
	struct json_value value;

	if (json_kind_of(args) != JSON_OBJECT || !json_find(args, name, &value))
		return "";
	return read_text(request, value);
}

int64_t muster_request_int(struct muster_request *request, const char *name)
{
	struct json_value args = args_of(request);
	struct json_value value;
	int64_t integer = 0;

	if (json_kind_of(args) != JSON_OBJECT ||
	    !json_find(args, name, &value) ||
	    json_kind_of(value) != JSON_NUMBER ||
	    !json_integer_of(value, &integer))
		return 0;
	return integer;
}

void muster_request_reply(struct muster_request *request, const char *json)
{
	size_t length = strlen(json);

	enum json_answer answer =
		json_check(json, length, ENVELOPE_DEPTH_MAX - 1);

	if (answer == JSON_NO_VALUE) {
		muster_request_fail(request, "the method's answer is no JSON");
		return;
	}
	request->value = arena_text(&request->arena, json, length);
	request->is_checked = answer == JSON_VALUE;
}

void muster_request_fail(struct muster_request *request, const char *format,
			 ...)
{
	va_list arguments;

	request->has_failed = true;
	va_start(arguments, format);
	vsnprintf(request->text, sizeof(request->text), format, arguments);
	va_end(arguments);
}
