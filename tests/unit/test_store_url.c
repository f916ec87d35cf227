/* What a store's URL may say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "store/store_url.h"

static struct store_url read_url(const char *text)
{
	struct store_url url;
	struct problem problem = { 0 };
	int error = store_url_read(text, &url, &problem);

	if (error < 0)
		print_message("%s: %s\n", text, problem.text);
	assert_int_equal(error, 0);
	return url;
}

static void a_path_is_an_embedded_store(void **state)
{
	(void)state;
	struct store_url url = read_url("lmdb:/var/lib/a%20b");

	assert_int_equal(url.kind, STORE_URL_LMDB);
	assert_string_equal(url.path, "/var/lib/a b");
	store_url_fini(&url);
}

static void redis_has_defaults(void **state)
{
	(void)state;
	struct store_url url = read_url("redis://10.0.0.5");

	assert_int_equal(url.kind, STORE_URL_REDIS);
	assert_false(url.is_tls);
	assert_int_equal(url.host_count, 1);
	assert_string_equal(url.hosts[0].name, "10.0.0.5");
	assert_int_equal(url.hosts[0].port, 6379);
	assert_int_equal(url.database, 0);
	assert_null(url.user);
	assert_null(url.password);
	store_url_fini(&url);
}

static void redis_takes_all_its_parts(void **state)
{
	(void)state;
	struct store_url url = read_url("rediss://me:p%40s%2Fs:x@[::1]:7000/3");

	assert_true(url.is_tls);
	assert_string_equal(url.user, "me");
	assert_string_equal(url.password, "p@s/s:x");
	assert_string_equal(url.hosts[0].name, "::1");
	assert_int_equal(url.hosts[0].port, 7000);
	assert_int_equal(url.database, 3);
	store_url_fini(&url);
}

static void a_password_needs_no_user(void **state)
{
	(void)state;
	struct store_url url = read_url("redis://:secret@h:1");

	assert_null(url.user);
	assert_string_equal(url.password, "secret");
	store_url_fini(&url);
}

static void a_unix_socket_has_two_spellings(void **state)
{
	(void)state;
	static const char *const texts[] = { "unix:/run/redis.sock?db=2",
					     "redis+unix:/run/redis.sock?db=2",
					     "unix:///run/redis.sock?db=2" };

	for (size_t i = 0; i < 3; i++) {
		struct store_url url = read_url(texts[i]);

		assert_int_equal(url.kind, STORE_URL_UNIX);
		assert_string_equal(url.path, "/run/redis.sock");
		assert_int_equal(url.database, 2);
		store_url_fini(&url);
	}
}

static void a_unix_socket_takes_a_password(void **state)
{
	(void)state;
	struct store_url url = read_url("redis+unix://u:p@/run/r");

	assert_string_equal(url.path, "/run/r");
	assert_string_equal(url.user, "u");
	assert_string_equal(url.password, "p");
	store_url_fini(&url);
}

static void sentinel_has_hosts_and_a_name(void **state)
{
	(void)state;
	struct store_url url = read_url("redis+sentinel://:p@a,b:7,c/main/4");

	assert_int_equal(url.kind, STORE_URL_SENTINEL);
	assert_int_equal(url.host_count, 3);
	assert_int_equal(url.hosts[0].port, 26379);
	assert_string_equal(url.hosts[1].name, "b");
	assert_int_equal(url.hosts[1].port, 7);
	assert_string_equal(url.master, "main");
	assert_int_equal(url.database, 4);
	store_url_fini(&url);
}

static void a_cluster_has_hosts(void **state)
{
	(void)state;
	struct store_url url = read_url("redis+cluster://a:1,b");

	assert_int_equal(url.kind, STORE_URL_CLUSTER);
	assert_int_equal(url.host_count, 2);
	assert_int_equal(url.hosts[1].port, 6379);
	store_url_fini(&url);
}

static void encryption_has_its_files(void **state)
{
	(void)state;
	struct store_url url = read_url(
		"rediss+cluster://:p@a:1,b?ca=/etc/a%20b&cert=c.pem&key=k.pem"
		"&verify=ca");

	assert_true(url.is_tls);
	assert_int_equal(url.host_count, 2);
	assert_string_equal(url.password, "p");
	assert_string_equal(url.ca_path, "/etc/a b");
	assert_string_equal(url.cert_path, "c.pem");
	assert_string_equal(url.key_path, "k.pem");
	assert_int_equal(url.check, TLS_CHECK_SIGNER);
	store_url_fini(&url);
	url = read_url("rediss+sentinel://a/main?verify=no");
	assert_true(url.is_tls);
	assert_string_equal(url.master, "main");
	assert_int_equal(url.check, TLS_CHECK_NOTHING);
	assert_null(url.ca_path);
	store_url_fini(&url);
	url = read_url("rediss://a/2?verify=yes&verify=no&verify=yes");
	assert_int_equal(url.database, 2);
	assert_int_equal(url.check, TLS_CHECK_ALL);
	store_url_fini(&url);
}

static void replicas_are_waited_for(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"redis://a/1?wait_replicas=2&wait_ms=300",
		"unix:/r?wait_ms=300&db=1&wait_replicas=2",
		"redis+sentinel://a/m/1?wait_replicas=2&wait_ms=300",
	};

	for (size_t i = 0; i < 3; i++) {
		struct store_url url = read_url(texts[i]);

		assert_int_equal(url.wait_replicas, 2);
		assert_int_equal(url.wait_ms, 300);
		assert_int_equal(url.database, 1);
		store_url_fini(&url);
	}
}

static void what_is_not_understood_is_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"mysql://h",
		"redis:",
		"redis://",
		"redis://:p@",
		"redis://h:",
		"redis://h:0",
		"redis://h:65536",
		"redis://h:x",
		"redis://h/x",
		"redis://h/99999",
		"redis://a,b",
		"redis://u@h",
		"redis://%zz",
		"redis://:%0@h",
		"redis://h%00",
		"redis://[::1",
		"redis://[::1]x",
		"lmdb:",
		"lmdb:a%",
		"unix:",
		"unix:/r?x=1",
		"redis+sentinel://h",
		"redis+sentinel://h/",
		"redis+cluster://h/1",
		"redis+cluster://a,,b",
		"redis://h?",
		"redis://h?db=1",
		"redis://h?ca=/x",
		"redis://h?verify=no",
		"rediss://h?verify=maybe",
		"rediss://h?verify",
		"rediss://h?ca=",
		"rediss://h?ca=%0",
		"rediss://h?ca=a&",
		"unix:/r?ca=/x",
		"redis://h?wait_replicas=65",
		"redis://h?wait_ms=x",
		"redis+cluster://h?wait=1",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct store_url url;
		struct problem problem = { 0 };
		int error = store_url_read(texts[i], &url, &problem);

		if (error == 0)
			print_message("%s\n", texts[i]);
		assert_int_equal(error, -EINVAL);
		assert_string_equal(problem.name, "STORE_URL_INVALID");
		assert_int_equal(problem.code, -EINVAL);
	}
}

static void a_refusal_keeps_the_password_to_itself(void **state)
{
	(void)state;
	struct store_url url;
	struct problem problem = { 0 };

	assert_int_equal(store_url_read("redis://:hunter2@h:x", &url, &problem),
			 -EINVAL);
	assert_null(strstr(problem.text, "hunter2"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_path_is_an_embedded_store),
		cmocka_unit_test(redis_has_defaults),
		cmocka_unit_test(redis_takes_all_its_parts),
		cmocka_unit_test(a_password_needs_no_user),
		cmocka_unit_test(a_unix_socket_has_two_spellings),
		cmocka_unit_test(a_unix_socket_takes_a_password),
		cmocka_unit_test(sentinel_has_hosts_and_a_name),
		cmocka_unit_test(a_cluster_has_hosts),
		cmocka_unit_test(encryption_has_its_files),
		cmocka_unit_test(replicas_are_waited_for),
		cmocka_unit_test(what_is_not_understood_is_refused),
		cmocka_unit_test(a_refusal_keeps_the_password_to_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
