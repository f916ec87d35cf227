#include "store/store_url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define REDIS_PORT    6379
#define SENTINEL_PORT 26379
#define DATABASE_MAX  65535
#define PORT_MAX      65535
#define REPLICAS_MAX  64
#define WAIT_MS_MAX   60000

/* A stretch of the text. */
struct part {
	const char *at;
	size_t length;
};

struct scheme {
	const char *name;
	enum store_url_kind kind;
	bool is_tls;
};

/* With two slashes where hosts follow. A longer name of the same beginning
 * comes first. */
static const struct scheme schemes[] = {
	{ "lmdb:", STORE_URL_LMDB, false },
	{ "rediss://", STORE_URL_REDIS, true },
	{ "redis://", STORE_URL_REDIS, false },
	{ "redis+unix:", STORE_URL_UNIX, false },
	{ "unix:", STORE_URL_UNIX, false },
	{ "redis+sentinel://", STORE_URL_SENTINEL, false },
	{ "rediss+sentinel://", STORE_URL_SENTINEL, true },
	{ "redis+cluster://", STORE_URL_CLUSTER, false },
	{ "rediss+cluster://", STORE_URL_CLUSTER, true },
};

static int refuse(struct problem *problem, const char *why)
{
	return problem_set(problem, -EINVAL, "STORE_URL_INVALID",
			   "the store's URL is not understood: %s (try "
			   "lmdb:PATH, redis://HOST:PORT/DB or unix:PATH)",
			   why);
}

static int hex(char letter)
{
	if (letter >= '0' && letter <= '9')
		return letter - '0';
	letter = (char)(letter | 0x20);
	if (letter >= 'a' && letter <= 'f')
		return letter - 'a' + 10;
	return -1;
}

/* NULL: a % without two digits, or one that stands for NUL. */
static char *decode(struct part part)
{
	char *text = mem_alloc(part.length + 1);
	size_t length = 0;

	for (size_t i = 0; i < part.length; i++) {
		char letter = part.at[i];

		if (letter == '%') {
			bool is_whole = i + 2 < part.length;
			int high = is_whole ? hex(part.at[i + 1]) : -1;
			int low = is_whole ? hex(part.at[i + 2]) : -1;

			if (high < 0 || low < 0 || (high | low) == 0) {
				free(text);
				return NULL;
			}
			letter = (char)(high << 4 | low);
			i += 2;
		}
		text[length++] = letter;
	}
	text[length] = '\0';
	return text;
}

/* Cuts what comes before `letter` off the front; all where it is not there. */
static struct part cut(struct part *rest, char letter, bool *is_there)
{
	const char *end = rest->length == 0
				  ? NULL
				  : memchr(rest->at, letter, rest->length);
	struct part before = *rest;

	*is_there = end != NULL;
	if (end == NULL) {
		rest->at += rest->length;
		rest->length = 0;
		return before;
	}
	before.length = (size_t)(end - rest->at);
	rest->length -= before.length + 1;
	rest->at = end + 1;
	return before;
}

static bool read_number(struct part part, unsigned max, unsigned *number)
{
	*number = 0;
	if (part.length == 0 || part.length > 5)
		return false;
	for (size_t i = 0; i < part.length; i++) {
		if (part.at[i] < '0' || part.at[i] > '9')
			return false;
		*number = *number * 10 + (unsigned)(part.at[i] - '0');
	}
	return *number <= max;
}

static int read_host(struct part part, struct store_url *url,
		     struct problem *problem)
{
	struct part name;
	struct part port = { part.at + part.length, 0 };
	unsigned number =
		url->kind == STORE_URL_SENTINEL ? SENTINEL_PORT : REDIS_PORT;

	if (part.length > 0 && part.at[0] == '[') {
		const char *end = memchr(part.at, ']', part.length);

		if (end == NULL)
			return refuse(problem, "a [ has no ]");
		name = (struct part){ part.at + 1,
				      (size_t)(end - part.at) - 1 };
		port = (struct part){ end + 1, part.length - name.length - 2 };
		if (port.length > 0 && *port.at++ != ':')
			return refuse(problem, "after ] comes no port");
		port.length -= port.length > 0;
	} else {
		bool has_port;

		port = part;
		name = cut(&port, ':', &has_port);
		if (has_port && port.length == 0)
			return refuse(problem, "a port is missing");
	}
	if (name.length == 0)
		return refuse(problem, "a host is missing");
	if (port.length > 0 &&
	    (!read_number(port, PORT_MAX, &number) || number == 0))
		return refuse(problem, "a port is not between 1 and 65535");
	if (url->host_count == STORE_HOSTS_MAX)
		return refuse(problem, "it has more than 16 hosts");
	struct store_host *host = &url->hosts[url->host_count];

	host->name = decode(name);
	if (host->name == NULL)
		return refuse(problem, "a % is not followed by two digits");
	host->port = (uint16_t)number;
	url->host_count++;
	return 0;
}

static int read_user(struct part part, struct store_url *url,
		     struct problem *problem)
{
	bool has_password;
	struct part user = cut(&part, ':', &has_password);

	url->user = user.length > 0 ? decode(user) : NULL;
	url->password = has_password ? decode(part) : NULL;
	if ((user.length > 0 && url->user == NULL) ||
	    (has_password && url->password == NULL))
		return refuse(problem, "a % in the user or password is not "
				       "followed by two digits");
	if (url->user != NULL && url->password == NULL)
		return refuse(problem, "a user has no password (write "
				       "USER:PASSWORD@ or :PASSWORD@)");
	return 0;
}

/* Takes USER:PASSWORD@ off the front of `part`. */
static int take_user(struct part *part, struct store_url *url,
		     struct problem *problem)
{
	const char *at =
		part->length == 0 ? NULL : memrchr(part->at, '@', part->length);

	if (at == NULL)
		return 0;
	struct part user = { part->at, (size_t)(at - part->at) };

	part->length -= user.length + 1;
	part->at = at + 1;
	return read_user(user, url, problem);
}

static int read_database(struct part part, struct store_url *url,
			 struct problem *problem)
{
	if (part.length > 0 && !read_number(part, DATABASE_MAX, &url->database))
		return refuse(problem, "the database is not a number");
	return 0;
}

static int read_hosts(struct part rest, struct store_url *url,
		      struct problem *problem)
{
	bool has_path;
	bool has_more = true;
	struct part hosts = cut(&rest, '/', &has_path);
	int error = take_user(&hosts, url, problem);

	while (error == 0 && has_more)
		error = read_host(cut(&hosts, ',', &has_more), url, problem);
	if (error < 0)
		return error;
	if (url->kind == STORE_URL_REDIS && url->host_count > 1)
		return refuse(problem, "several hosts need redis+sentinel:// "
				       "or redis+cluster://");
	if (url->kind == STORE_URL_SENTINEL) {
		bool has_database;
		struct part master = cut(&rest, '/', &has_database);

		if (master.length == 0)
			return refuse(problem, "the name that Sentinel knows "
					       "the primary by is missing "
					       "after the hosts");
		url->master = decode(master);
		if (url->master == NULL)
			return refuse(problem, "a % in the name is not "
					       "followed by two digits");
	}
	if (url->kind == STORE_URL_CLUSTER && rest.length > 0)
		return refuse(problem, "a cluster has no databases to choose");
	return read_database(rest, url, problem);
}

/* ---- what follows a '?' ---- */

static int read_check(struct part value, struct store_url *url,
		      struct problem *problem)
{
	static const struct {
		const char *name;
		enum tls_check check;
	} checks[] = {
		{ "yes", TLS_CHECK_ALL },
		{ "ca", TLS_CHECK_SIGNER },
		{ "no", TLS_CHECK_NOTHING },
	};

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]); i++)
		if (value.length == strlen(checks[i].name) &&
		    memcmp(value.at, checks[i].name, value.length) == 0) {
			url->check = checks[i].check;
			return 0;
		}
	return refuse(problem, "verify is none of yes, ca, no");
}

static int read_option(struct part name, struct part value,
		       struct store_url *url, struct problem *problem)
{
	const struct {
		const char *name;
		bool is_known;
		char **text;
		unsigned *number;
		unsigned max;
	} options[] = {
		{ "db", url->kind == STORE_URL_UNIX, NULL, &url->database,
		  DATABASE_MAX },
		{ "wait_replicas", true, NULL, &url->wait_replicas,
		  REPLICAS_MAX },
		{ "wait_ms", true, NULL, &url->wait_ms, WAIT_MS_MAX },
		{ "ca", url->is_tls, &url->ca_path, NULL, 0 },
		{ "cert", url->is_tls, &url->cert_path, NULL, 0 },
		{ "key", url->is_tls, &url->key_path, NULL, 0 },
		{ "verify", url->is_tls, NULL, NULL, 0 },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (name.length != strlen(options[i].name) ||
		    memcmp(name.at, options[i].name, name.length) != 0)
			continue;
		if (!options[i].is_known)
			return refuse(problem,
				      "db follows a path alone, and ca, cert, "
				      "key and verify need rediss");
		if (options[i].number != NULL &&
		    !read_number(value, options[i].max, options[i].number))
			return refuse(problem, "a value after the ? is no "
					       "number, or too large");
		if (options[i].number != NULL)
			return 0;
		if (options[i].text == NULL)
			return read_check(value, url, problem);
		free(*options[i].text);
		*options[i].text = value.length > 0 ? decode(value) : NULL;
		return *options[i].text != NULL
			       ? 0
			       : refuse(problem,
					"a path after the ? is missing, or has "
					"a % that no two digits follow");
	}
	return refuse(problem, "after the ? may stand db, wait_replicas, "
			       "wait_ms, ca, cert, key and verify");
}

static int read_query(struct part rest, struct store_url *url,
		      struct problem *problem)
{
	bool has_more = true;
	int error = 0;

	while (error == 0 && has_more) {
		struct part value = cut(&rest, '&', &has_more);
		bool has_value;
		struct part name = cut(&value, '=', &has_value);

		error = has_value ? read_option(name, value, url, problem)
				  : refuse(problem, "after the ? a value is "
						    "missing");
	}
	return error;
}

static int read_path(struct part rest, struct store_url *url,
		     struct problem *problem)
{
	bool has_query = false;
	struct part path = rest;
	int error = 0;

	if (url->kind == STORE_URL_UNIX) {
		path = cut(&rest, '?', &has_query);
		if (path.length > 2 && memcmp(path.at, "//", 2) == 0) {
			path.at += 2;
			path.length -= 2;
			error = take_user(&path, url, problem);
		}
	}
	if (error == 0 && has_query)
		error = read_query(rest, url, problem);
	if (error < 0)
		return error;
	if (path.length == 0)
		return refuse(problem, "the path is missing");
	url->path = decode(path);
	if (url->path == NULL)
		return refuse(problem, "a % in the path is not followed by "
				       "two digits");
	return 0;
}

static int read_hosts_and_query(struct part rest, struct store_url *url,
				struct problem *problem)
{
	bool has_query;
	struct part query = rest;
	struct part hosts = cut(&query, '?', &has_query);
	int error = read_hosts(hosts, url, problem);

	if (error < 0 || !has_query)
		return error;
	return read_query(query, url, problem);
}

static int read(const char *text, struct store_url *url,
		struct problem *problem)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t length = strlen(schemes[i].name);

		if (strncmp(text, schemes[i].name, length) != 0)
			continue;
		struct part rest = { text + length, strlen(text) - length };

		url->kind = schemes[i].kind;
		url->is_tls = schemes[i].is_tls;
		if (url->kind == STORE_URL_LMDB || url->kind == STORE_URL_UNIX)
			return read_path(rest, url, problem);
		return read_hosts_and_query(rest, url, problem);
	}
	return refuse(problem, "its scheme is unknown");
}

int store_url_read(const char *text, struct store_url *url,
		   struct problem *problem)
{
	*url = (struct store_url){ 0 };
	int error = read(text, url, problem);

	if (error < 0)
		store_url_fini(url);
	return error;
}

static char *copy_text(const char *text)
{
	return text == NULL ? NULL : mem_text(text);
}

void store_url_copy(struct store_url *to, const struct store_url *from)
{
	*to = *from;
	to->path = copy_text(from->path);
	to->user = copy_text(from->user);
	to->password = copy_text(from->password);
	to->master = copy_text(from->master);
	to->ca_path = copy_text(from->ca_path);
	to->cert_path = copy_text(from->cert_path);
	to->key_path = copy_text(from->key_path);
	for (size_t i = 0; i < from->host_count; i++)
		to->hosts[i].name = copy_text(from->hosts[i].name);
}

void store_url_fini(struct store_url *url)
{
	for (size_t i = 0; i < url->host_count; i++)
		free(url->hosts[i].name);
	free(url->path);
	free(url->user);
	free(url->password);
	free(url->master);
	free(url->ca_path);
	free(url->cert_path);
	free(url->key_path);
	*url = (struct store_url){ 0 };
}
