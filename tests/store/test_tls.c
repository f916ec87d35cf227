/* A store on Redis whose bytes are encrypted on their way. */
#include "fixture.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/must.h"
#include "certificates.h"

#define NODES 2

/* A server with TLS on one port and without on the other. */
struct servers {
	struct fixture fixture;
	pid_t nodes[NODES];
	uint16_t plain;
	uint16_t tls;
};

static char directory[64];

static pid_t start_at(struct servers *servers, const char *cert,
		      uint16_t tls_port, uint16_t plain_port,
		      const char *const *more)
{
	char *pem = mem_format("%s/%s.pem", directory, cert);
	char *key = mem_format("%s/%s.key", directory, cert);
	char *ca = mem_format("%s/ca.pem", directory);
	char *port = mem_format("%u", tls_port);
	const char *all[24] = { "--tls-port",         port,
				"--tls-cert-file",    pem,
				"--tls-key-file",     key,
				"--tls-ca-cert-file", ca };
	size_t count = 8;

	for (; more != NULL && *more != NULL; more++)
		all[count++] = *more;
	pid_t pid = fixture_start_redis_at(servers->fixture.directory,
					   plain_port, all);

	free(port);
	free(ca);
	free(key);
	free(pem);
	return pid;
}

static void start(struct servers *servers, const char *cert,
		  const char *const *more)
{
	servers->plain = fixture_free_port();
	servers->tls = fixture_free_port();
	servers->fixture.server =
		start_at(servers, cert, servers->tls, servers->plain, more);
}

static int set_up(void **state)
{
	struct servers *servers = mem_zalloc(sizeof(*servers));
	struct fixture *f = &servers->fixture;

	signal(SIGPIPE, SIG_IGN);
	snprintf(f->directory, sizeof(f->directory),
		 "/tmp/muster-store-XXXXXX");
	MUST(mkdtemp(f->directory) != NULL);
	f->log = (struct log){ LOG_OFF, "test" };
	f->loop = loop_new(&f->log);
	*state = servers;
	return 0;
}

static int tear_down(void **state)
{
	struct servers *servers = *state;
	struct fixture *f = &servers->fixture;

	if (f->store != NULL)
		fixture_close(f, f->store);
	loop_free(f->loop);
	fixture_stop(f->server, SIGKILL);
	for (size_t i = 0; i < NODES; i++)
		fixture_stop(servers->nodes[i], SIGKILL);
	fixture_remove(f->directory);
	while (f->replies != NULL) {
		struct reply *reply = f->replies;

		f->replies = reply->next;
		free(reply);
	}
	free(servers);
	return 0;
}

__attribute__((format(printf, 2, 3))) static struct reply *
ready_at(struct servers *servers, const char *format, ...)
{
	struct fixture *f = &servers->fixture;
	char url[512];
	va_list arguments;
	struct reply *ready = reply_new(f, DO_ready);

	va_start(arguments, format);
	vsnprintf(url, sizeof(url), format, arguments);
	va_end(arguments);
	if (f->store != NULL)
		fixture_close(f, f->store);
	f->store = fixture_open(f, url);
	store_ready(f->store, on_reply, ready);
	return reply_wait(ready);
}

static void work_and_wait(struct fixture *f)
{
	static const struct store_bytes queues[] = { { "", 0 } };
	static char large[300000];
	const struct store_task task = { .id = T("a"), .envelope = T("{}") };
	struct reply *wait = START(wait, .queues = queues, .queue_count = 1,
				   .timeout_ms = 10000);
	struct reply *saves[200];

	memset(large, 'x', sizeof(large));
	for (size_t i = 0; i < 200; i++)
		saves[i] = START(cache_save, .key = T("k"),
				 .value = store_bytes(large, i * 1500));
	for (size_t i = 0; i < 200; i++)
		assert_done(reply_wait(saves[i]));
	assert_int_equal(ASK(cache_load, .key = T("k"))->text_length,
			 199 * 1500);
	assert_int_equal(ASK(enqueue, .tasks = &task, .count = 1)->results[0],
			 STORE_DONE);
	assert_int_equal(reply_wait(wait)->result, STORE_WOKEN);
	assert_int_equal(ASK(claim, .owner = T("me"), .queues = queues,
			     .queue_count = 1, .want = 1, .lease_ms = 10000)
				 ->count,
			 1);
}

static const char *const no_clients[] = { "--tls-auth-clients", "no", NULL };

static void a_server_is_known_by_its_certificate(void **state)
{
	struct servers *servers = *state;

	start(servers, "server", no_clients);
	assert_done(ready_at(servers, "rediss://localhost:%u/1?ca=%s/ca.pem",
			     servers->tls, directory));
	work_and_wait(&servers->fixture);
	assert_done(ready_at(servers, "rediss://127.0.0.1:%u?ca=%s/ca.pem",
			     servers->tls, directory));
}

static void an_unknown_signer_is_refused(void **state)
{
	struct servers *servers = *state;
	struct fixture *f = &servers->fixture;

	start(servers, "server", no_clients);
	struct reply *ready =
		ready_at(servers, "rediss://localhost:%u", servers->tls);

	assert_problem(ready, -EACCES, "STORE_TLS");
	assert_non_null(strstr(ready->problem, "?ca=PATH"));
	assert_problem(ASK(cache_load, .key = T("a")), -EACCES, "STORE_TLS");
}

static void another_hosts_certificate_is_refused(void **state)
{
	struct servers *servers = *state;

	start(servers, "elsewhere", no_clients);
	assert_problem(ready_at(servers, "rediss://localhost:%u?ca=%s/ca.pem",
				servers->tls, directory),
		       -EACCES, "STORE_TLS");
	assert_done(ready_at(servers,
			     "rediss://localhost:%u?verify=ca&ca=%s/ca.pem",
			     servers->tls, directory));
	assert_done(ready_at(servers, "rediss://localhost:%u?verify=no",
			     servers->tls));
}

static void a_server_may_want_ours(void **state)
{
	struct servers *servers = *state;

	start(servers, "server", NULL);
	struct reply *ready =
		ready_at(servers, "rediss://localhost:%u?ca=%s/ca.pem",
			 servers->tls, directory);

	/* What it says about that may be lost, as it hangs up with it. */
	if (strcmp(ready->name, "STORE_HANGS_UP") != 0)
		assert_problem(ready, -EPROTO, "STORE_TLS");
	assert_non_null(strstr(ready->problem, "cert="));
	assert_done(ready_at(servers,
			     "rediss://localhost:%u?ca=%s/ca.pem&"
			     "cert=%s/client.pem&key=%s/client.key",
			     servers->tls, directory, directory, directory));
}

static void the_wrong_scheme_is_told(void **state)
{
	struct servers *servers = *state;
	struct problem problem = { 0 };
	struct fixture *f = &servers->fixture;

	start(servers, "server", no_clients);
	struct reply *ready =
		ready_at(servers, "redis://localhost:%u", servers->tls);

	assert_problem(ready, -ECONNRESET, "STORE_HANGS_UP");
	assert_non_null(strstr(ready->problem, "rediss://"));
	ready = ready_at(servers, "rediss://localhost:%u", servers->plain);
	assert_problem(ready, -ETIMEDOUT, "STORE_TLS");
	assert_non_null(strstr(ready->problem, "redis://"));
	assert_null(store_open(f->loop, "rediss://h?ca=/nowhere.pem",
			       &f->options, &problem));
	assert_string_equal(problem.name, "TLS_CA");
}

static void a_server_that_was_killed_is_found_again(void **state)
{
	struct servers *servers = *state;
	struct fixture *f = &servers->fixture;

	start(servers, "server", no_clients);
	assert_done(ready_at(servers, "rediss://localhost:%u?ca=%s/ca.pem",
			     servers->tls, directory));
	fixture_stop(f->server, SIGKILL);
	struct reply *save = START(cache_save, .key = T("a"), .value = T("v"));

	f->server = start_at(servers, "server", servers->tls, servers->plain,
			     no_clients);
	assert_done(reply_wait(save));
}

static void await_node(uint16_t port, const char *command, const char *wanted)
{
	char *arguments =
		mem_format("--tls --cacert %s/ca.pem -h 127.0.0.1 -p %u %s",
			   directory, port, command);

	fixture_await_cli(arguments, wanted);
	free(arguments);
}

static void a_cluster_is_walked_with_tls(void **state)
{
	struct servers *servers = *state;
	struct fixture *f = &servers->fixture;
	uint16_t ports[NODES];

	for (size_t i = 0; i < NODES; i++) {
		char *file = mem_format("nodes-%zu.conf", i);
		char *bus = mem_format("%u", fixture_free_port());
		const char *const more[] = {
			"--tls-auth-clients",
			"no",
			"--cluster-enabled",
			"yes",
			"--cluster-config-file",
			file,
			"--cluster-port",
			bus,
			"--tls-cluster",
			"yes",
			NULL,
		};

		ports[i] = fixture_free_port();
		servers->nodes[i] = start_at(servers, "server", ports[i],
					     fixture_free_port(), more);
		char *command = mem_format("cluster addslotsrange %zu %zu",
					   i * 8192, (i + 1) * 8192 - 1);

		await_node(ports[i], command, "OK");
		free(command);
		if (i > 0) {
			command = mem_format("cluster meet 127.0.0.1 %u %s",
					     ports[i], bus);
			await_node(ports[0], command, "OK");
			free(command);
		}
		free(bus);
		free(file);
	}
	for (size_t i = 0; i < NODES; i++)
		await_node(ports[i], "cluster info", "cluster_state:ok");
	assert_done(ready_at(servers,
			     "rediss+cluster://127.0.0.1:%u?ca=%s/ca.pem",
			     ports[0], directory));
	struct reply *saves[20];

	for (size_t i = 0; i < 20; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%zu", i);
		saves[i] = START(cache_save, .key = T(key), .value = T("v"));
	}
	for (size_t i = 0; i < 20; i++)
		assert_done(reply_wait(saves[i]));
	assert_int_equal(ASK(cache_size)->value, 20);
	work_and_wait(f);
}

static int make_certificates(void **state)
{
	(void)state;
	snprintf(directory, sizeof(directory), "/tmp/muster-tls-XXXXXX");
	if (mkdtemp(directory) == NULL)
		return -1;
	certificates_make(directory);
	return 0;
}

static int remove_certificates(void **state)
{
	(void)state;
	fixture_remove(directory);
	return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_server_is_known_by_its_certificate),
		TEST(an_unknown_signer_is_refused),
		TEST(another_hosts_certificate_is_refused),
		TEST(a_server_may_want_ours),
		TEST(the_wrong_scheme_is_told),
		TEST(a_server_that_was_killed_is_found_again),
		TEST(a_cluster_is_walked_with_tls),
	};

	return cmocka_run_group_tests(tests, make_certificates,
				      remove_certificates);
}
