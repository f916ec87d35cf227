/*
 * What is counted, for Prometheus: see web_internal.h. Whichever worker is
 * asked tells of all those of its primary (base/meters.h), so that one scrape
 * through the shared port is complete; what carries a node's name is that
 * one's alone.
 */
#include <inttypes.h>

#include "base/fiber.h"
#include "base/must.h"
#include "server/web_internal.h"

/* Upper bounds. */
static const struct {
	uint64_t us;
	const char *text; /* seconds */
} buckets[METER_BUCKETS - 1] = {
	{ 100, "0.0001" }, { 250, "0.00025" }, { 500, "0.0005" },
	{ 1000, "0.001" }, { 2500, "0.0025" }, { 5000, "0.005" },
	{ 10000, "0.01" }, { 25000, "0.025" }, { 50000, "0.05" },
	{ 100000, "0.1" }, { 250000, "0.25" }, { 1000000, "1" },
	{ 5000000, "5" },  { 30000000, "30" },
};

/* By place among the meters; behind them other ones, by their class. */
static const uint16_t statuses[] = {
	200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, 400,
	401, 403, 404, 405, 408, 409, 410, 412, 413, 414, 415, 416,
	418, 422, 429, 431, 500, 501, 502, 503, 504, 505, 507,
};
#define STATUSES (sizeof(statuses) / sizeof(statuses[0]))
#define CLASSES  5 /* 1xx to 5xx */

_Static_assert(STATUSES + CLASSES <= METER_STATUSES, "METER_STATUSES");

void web_metrics_open(struct web *web)
{
	web->meters = web->settings.api->muster->meters;
	for (size_t i = 0; i <= WEB_STATUS_MAX; i++)
		web->meter_of[i] =
			(uint8_t)(STATUSES + (i < 100 ? 4 : i / 100 - 1));
	for (size_t i = 0; i < STATUSES; i++)
		web->meter_of[statuses[i]] = (uint8_t)i;
}

void web_count(struct web *web, int status, uint64_t took_us)
{
	size_t bucket = 0;

	while (bucket < METER_BUCKETS - 1 && took_us > buckets[bucket].us)
		bucket++;
	MUST(status >= 0 && status <= WEB_STATUS_MAX);
	meter_add(web->meters, METER_HTTP_BUCKET + bucket, 1);
	meter_add(web->meters, METER_HTTP_US, took_us);
	meter_add(web->meters,
		  (size_t)METER_HTTP_STATUS + web->meter_of[status], 1);
}

/* ---- writing ---- */

static uint64_t sum(const struct web *web, size_t meter)
{
	return web->settings.sum != NULL
		       ? web->settings.sum(web->settings.owner, meter)
		       : meter_get(web->meters, meter);
}

static void head(struct buffer *to, const char *name, const char *type,
		 const char *help)
{
	buffer_append_format(to, "# HELP %s %s\n# TYPE %s %s\n", name, help,
			     name, type);
}

static void write_requests(const struct web *web, struct buffer *to)
{
	static const char *const name = "muster_http_requests_total";

	head(to, name, "counter", "Requests answered, by status.");
	for (size_t i = 0; i < STATUSES + CLASSES; i++) {
		uint64_t count = sum(web, METER_HTTP_STATUS + i);

		if (count > 0 && i < STATUSES)
			buffer_append_format(
				to, "%s{status=\"%u\"} %" PRIu64 "\n", name,
				(unsigned)statuses[i], count);
		else if (count > 0)
			buffer_append_format(
				to, "%s{status=\"%zuxx\"} %" PRIu64 "\n", name,
				i - STATUSES + 1, count);
	}
}

static void write_durations(const struct web *web, struct buffer *to)
{
	static const char *const name = "muster_http_request_duration_seconds";
	uint64_t count = 0;

	head(to, name, "histogram", "From a request to its answer.");
	for (size_t i = 0; i < METER_BUCKETS - 1; i++) {
		count += sum(web, METER_HTTP_BUCKET + i);
		buffer_append_format(to, "%s_bucket{le=\"%s\"} %" PRIu64 "\n",
				     name, buckets[i].text, count);
	}
	count += sum(web, METER_HTTP_BUCKET + METER_BUCKETS - 1);
	buffer_append_format(to,
			     "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n"
			     "%s_sum %.6f\n"
			     "%s_count %" PRIu64 "\n",
			     name, count, name,
			     (double)sum(web, METER_HTTP_US) / 1e6, name,
			     count);
}

static const struct {
	enum meter meter;
	const char *name;
	const char *type;
	const char *help;
} simple[] = {
	{ METER_CONNECTIONS, "muster_http_connections", "gauge",
	  "HTTP connections that are open." },
	{ METER_ACTIONS, "muster_actions_running", "gauge",
	  "Actions that have begun and not ended." },
	{ METER_TASKS, "muster_tasks_running", "gauge",
	  "Tasks that have begun and not ended." },
	{ METER_TASKS_DONE, "muster_tasks_completed_total", "counter",
	  "Runs of tasks that ended well." },
	{ METER_TASKS_FAILED, "muster_tasks_failed_total", "counter",
	  "Runs of tasks that failed." },
	{ METER_CACHE_HITS, "muster_cache_hits_total", "counter",
	  "Values asked of the cache that it had." },
	{ METER_CACHE_MISSES, "muster_cache_misses_total", "counter",
	  "Values asked of the cache that it had not." },
	{ METER_MESSAGES_SENT, "muster_messages_sent_total", "counter",
	  "Messages given to the bus between servers." },
	{ METER_MESSAGES_DELIVERED, "muster_messages_delivered_total",
	  "counter", "Messages of the bus, for each who heard them." },
};

static void write_simple(const struct web *web, struct buffer *to)
{
	for (size_t i = 0; i < sizeof(simple) / sizeof(simple[0]); i++) {
		head(to, simple[i].name, simple[i].type, simple[i].help);
		buffer_append_format(to, "%s %" PRIu64 "\n", simple[i].name,
				     sum(web, simple[i].meter));
	}
}

/* Names of nodes hold nothing that would have to be quoted. */
static void write_own(const struct web *web, struct buffer *to)
{
	const struct muster *muster = web->settings.api->muster;
	struct fiber_counts fibers = fiber_pool_counts(muster->fibers);

	head(to, "muster_fibers", "gauge",
	     "Fibers that live, of the worker that answers.");
	buffer_append_format(to, "muster_fibers{node=\"%s\"} %zu\n",
			     muster_id(muster), fibers.live);
	head(to, "muster_fibers_peak", "gauge",
	     "The most that have lived at once, of the worker that answers.");
	buffer_append_format(to, "muster_fibers_peak{node=\"%s\"} %zu\n",
			     muster_id(muster), fibers.peak);
}

void web_metrics_write(struct web *web, struct buffer *to)
{
	write_requests(web, to);
	write_durations(web, to);
	write_simple(web, to);
	if (!web->is_closed) /* else the node may be gone */
		write_own(web, to);
}
