/* What is counted, for Prometheus: see web_internal.h. */
#include <inttypes.h>

#include "base/fiber.h"
#include "server/web_internal.h"

/* Upper bounds. */
static const struct {
	uint64_t us;
	const char *text; /* seconds */
} buckets[WEB_BUCKETS] = {
	{ 100, "0.0001" }, { 250, "0.00025" }, { 500, "0.0005" },
	{ 1000, "0.001" }, { 2500, "0.0025" }, { 5000, "0.005" },
	{ 10000, "0.01" }, { 25000, "0.025" }, { 50000, "0.05" },
	{ 100000, "0.1" }, { 250000, "0.25" }, { 1000000, "1" },
	{ 5000000, "5" },  { 30000000, "30" },
};

void web_count(struct web *web, int status, uint64_t took_us)
{
	size_t bucket = 0;

	while (bucket < WEB_BUCKETS && took_us > buckets[bucket].us)
		bucket++;
	web->by_duration[bucket]++;
	web->duration_us += took_us;
	if (status >= 0 && status <= WEB_STATUS_MAX)
		web->by_status[status]++;
}

static void head(struct buffer *to, const char *name, const char *type,
		 const char *help)
{
	buffer_append_format(to, "# HELP %s %s\n# TYPE %s %s\n", name, help,
			     name, type);
}

static void write_requests(const struct web *web, const char *node,
			   struct buffer *to)
{
	head(to, "muster_http_requests_total", "counter",
	     "Requests answered, by status.");
	for (int status = 0; status <= WEB_STATUS_MAX; status++)
		if (web->by_status[status] > 0)
			buffer_append_format(
				to,
				"muster_http_requests_total{node=\"%s\","
				"status=\"%d\"} %" PRIu64 "\n",
				node, status, web->by_status[status]);
}

static void write_durations(const struct web *web, const char *node,
			    struct buffer *to)
{
	static const char *const name = "muster_http_request_duration_seconds";
	uint64_t count = 0;

	head(to, name, "histogram", "From a request to its answer.");
	for (size_t i = 0; i < WEB_BUCKETS; i++) {
		count += web->by_duration[i];
		buffer_append_format(
			to, "%s_bucket{node=\"%s\",le=\"%s\"} %" PRIu64 "\n",
			name, node, buckets[i].text, count);
	}
	count += web->by_duration[WEB_BUCKETS];
	buffer_append_format(to,
			     "%s_bucket{node=\"%s\",le=\"+Inf\"} %" PRIu64 "\n"
			     "%s_sum{node=\"%s\"} %.6f\n"
			     "%s_count{node=\"%s\"} %" PRIu64 "\n",
			     name, node, count, name, node,
			     (double)web->duration_us / 1e6, name, node, count);
}

static void write_gauge(struct buffer *to, const char *node, const char *name,
			const char *help, uint64_t value)
{
	head(to, name, "gauge", help);
	buffer_append_format(to, "%s{node=\"%s\"} %" PRIu64 "\n", name, node,
			     value);
}

/* Names of nodes hold nothing that would have to be quoted. */
void web_metrics_write(struct web *web, struct buffer *to)
{
	const struct api *api = web->settings.api;
	const char *node = web->is_closed ? "" : muster_id(api->muster);

	write_requests(web, node, to);
	write_durations(web, node, to);
	write_gauge(to, node, "muster_actions_running",
		    "Actions that have begun and not ended.", api->running);
	if (web->is_closed) /* and so is the node, perhaps */
		return;
	struct fiber_counts fibers = fiber_pool_counts(api->muster->fibers);

	write_gauge(to, node, "muster_fibers", "Fibers that live.",
		    fibers.live);
	write_gauge(to, node, "muster_fibers_peak",
		    "The most fibers that have lived at once.", fibers.peak);
}
